// int8 linear layers: AVX-512 without VNNI, 16-bit products.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/linear/widening.hpp"

#define EDGELANE_PATH WideningLinear<VecF32Avx512>
#define EDGELANE_LINE_linear_s8_avx512 EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
