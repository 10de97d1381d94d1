// float32 linear layers: AVX-512.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/linear/gemm.hpp"

#define EDGELANE_PATH F32Linear<VecF32Avx512>
#define EDGELANE_LINE_linear_f32_avx512 EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
