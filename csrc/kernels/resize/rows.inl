// Bodies of ResizeRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/resize/rows.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

template <class V>
void blend_rows(const float* const* x, const float* weight, int count, float* y, int64_t n) {
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    V s = V::broadcast(weight[0]) * load<V>(x[0] + i, lanes);
    for (int k = 1; k < count; ++k) s = muladd(V::broadcast(weight[k]), load<V>(x[k] + i, lanes), s);
    store(s, y + i, lanes);
  });
}

// The compiler turns the look-ups into gathers where the instruction set has them.
template <int kCount>
EDGELANE_INLINE void blend_columns_of(const float* x, const int32_t* index, const float* weight, float* y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    float s = weight[i] * x[index[i]];
    for (int k = 1; k < kCount; ++k) s += weight[k * n + i] * x[index[k * n + i]];
    y[i] = s;
  }
}

void blend_columns(const float* x, const int32_t* index, const float* weight, int count, float* y, int64_t n) {
  if (count == 2) {
    blend_columns_of<2>(x, index, weight, y, n);
  } else {
    blend_columns_of<4>(x, index, weight, y, n);
  }
}

template <class V>
constexpr ResizeRows make_rows() {
  return {blend_rows<V>, blend_columns};
}

}  // namespace
}  // namespace edgelane
