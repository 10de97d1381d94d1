// Loops over runs of float32 by vectors of V, a type of vec_<isa>.hpp.
#pragma once

#include <cstdint>

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

// Calls f(first element, lanes) for every vector of a run; lanes < V::width only for the last one.
template <class V, class F>
EDGELANE_INLINE void for_vectors(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + V::width <= n; i += V::width) f(i, V::width);
  if (i < n) f(i, static_cast<int>(n - i));
}

template <class V>
EDGELANE_INLINE V load(const float* p, int lanes) {
  return lanes == V::width ? V::loadu(p) : V::load_first(p, lanes);
}
template <class V>
EDGELANE_INLINE void store(V v, float* p, int lanes) {
  lanes == V::width ? v.storeu(p) : v.store_first(p, lanes);
}

// Four sums, so that one addition need not wait for the one before it.
template <class V>
EDGELANE_INLINE float sum(const float* x, int64_t n) {
  V s[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t i = 0;
  for (; i + 4 * V::width <= n; i += 4 * V::width) {
    for (int k = 0; k < 4; ++k) s[k] = s[k] + V::loadu(x + i + k * V::width);
  }
  for_vectors<V>(n - i, [&](int64_t j, int lanes) { s[0] = s[0] + load<V>(x + i + j, lanes); });
  return ((s[0] + s[1]) + (s[2] + s[3])).reduce_add();
}

}  // namespace
}  // namespace edgelane
