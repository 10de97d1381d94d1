#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_avx2.hpp"

namespace edgelane::avx2 {

void interleave_rows(const float* even, const float* odd, float* y, int n) { interleave<VecF32Avx2>(even, odd, y, n); }

}  // namespace edgelane::avx2
