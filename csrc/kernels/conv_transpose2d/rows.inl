// The body of interleave_rows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/conv_transpose2d/rows.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

template <class V>
EDGELANE_INLINE void interleave(const float* even, const float* odd, float* y, int n) {
  int i = 0;
  for (; 2 * (i + V::width) <= n; i += V::width) {
    const V a = V::loadu(even + i), b = V::loadu(odd + i);
    interleave_low(a, b).storeu(y + 2 * i);
    interleave_high(a, b).storeu(y + 2 * i + V::width);
  }
  for (; 2 * i < n; ++i) {
    y[2 * i] = even[i];
    if (2 * i + 1 < n) y[2 * i + 1] = odd[i];
  }
}

}  // namespace
}  // namespace edgelane
