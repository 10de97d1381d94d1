// int8 linear layers: AVX2, 16-bit products.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/linear/widening.hpp"

#define EDGELANE_PATH WideningLinear<VecF32Avx2>
#define EDGELANE_LINE_linear_s8_avx2 EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
