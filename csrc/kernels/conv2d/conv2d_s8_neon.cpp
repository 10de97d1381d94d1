// int8 strip convolution: Advanced SIMD, 16-bit products.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/conv2d/dot_path.hpp"
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_neon.hpp"

#define EDGELANE_PATH DotPath<NeonDot>
#define EDGELANE_LINE_conv2d_s8_neon EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
