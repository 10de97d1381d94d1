#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_avx512.hpp"

namespace edgelane::avx512 {

void interleave_rows(const float* even, const float* odd, float* y, int n) { interleave<VecF32Avx512>(even, odd, y, n); }

}  // namespace edgelane::avx512
