// int8 linear layers: SDOT.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/linear/dot_path.hpp"
#include "kernels/simd/dot_neon_dotprod.hpp"

#define EDGELANE_PATH DotLinear<NeonDotprodDot>
#define EDGELANE_LINE_linear_s8_neon_dotprod EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
