// int8 linear layers: Advanced SIMD, 16-bit products.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/linear/dot_path.hpp"
#include "kernels/simd/dot_neon.hpp"

#define EDGELANE_PATH DotLinear<NeonDot>
#define EDGELANE_LINE_linear_s8_neon EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
