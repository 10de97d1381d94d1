// int8 strip convolution: SDOT, four quads at once.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/conv2d/dot_path.hpp"
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_neon_dotprod.hpp"

#define EDGELANE_PATH DotPath<NeonDotprodDot>
#define EDGELANE_LINE_conv2d_s8_neon_dotprod EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
