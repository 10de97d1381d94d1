#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

void interleave_rows(const float* even, const float* odd, float* y, int n) { interleave<VecF32Neon>(even, odd, y, n); }

}  // namespace edgelane::neon
