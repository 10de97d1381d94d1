// float32 linear layers: AVX2 with FMA.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/linear/gemm.hpp"

#define EDGELANE_PATH F32Linear<VecF32Avx2>
#define EDGELANE_LINE_linear_f32_avx2 EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
