// float32 linear layers: vectors of four floats that a compiler may vectorise for its baseline.
#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/linear/gemm.hpp"

#define EDGELANE_PATH F32Linear<VecF32Scalar>
#define EDGELANE_LINE_linear_f32_scalar EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
