// Matrix products: any CPU.
#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/matmul/tile.hpp"

#define EDGELANE_WORDS VecI32Scalar
#define EDGELANE_PATH_f32 F32Matmul<VecF32Scalar>
#define EDGELANE_PATH_s32 S32Matmul<VecI32Scalar>
#define EDGELANE_LINE_f32_scalar EDGELANE_DEFINE_MATMUL
#define EDGELANE_LINE_s32_scalar EDGELANE_DEFINE_MATMUL
#include "kernels/matmul/kernel_lines.hpp"
