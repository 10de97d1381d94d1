// int8 strip convolution: USDOT, four quads at once.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/conv2d/dot_path.hpp"
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_neon_i8mm.hpp"

#define EDGELANE_PATH DotPath<NeonI8mmDot>
#define EDGELANE_LINE_conv2d_s8_neon_i8mm EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
