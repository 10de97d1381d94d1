// Matrix products: AVX2.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/matmul/tile.hpp"

#define EDGELANE_WORDS VecI32Avx2
#define EDGELANE_PATH_f32 F32Matmul<VecF32Avx2>
#define EDGELANE_PATH_s32 S32Matmul<VecI32Avx2>
#define EDGELANE_LINE_f32_avx2 EDGELANE_DEFINE_MATMUL
#define EDGELANE_LINE_s32_avx2 EDGELANE_DEFINE_MATMUL
#include "kernels/matmul/kernel_lines.hpp"
