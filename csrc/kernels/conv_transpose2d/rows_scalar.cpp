#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

void interleave_rows(const float* even, const float* odd, float* y, int n) { interleave<VecF32Scalar>(even, odd, y, n); }

}  // namespace edgelane::scalar
