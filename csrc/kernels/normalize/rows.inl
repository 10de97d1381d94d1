// Bodies of NormalizeRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include <cmath>

#include "kernels/normalize/rows.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

struct Moments {
  float sum, squares;
};

template <class V>
EDGELANE_INLINE Moments moments_of(const float* x, int n, V shift) {
  V sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()}, squares[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int i = 0;
  for (; i + 4 * V::width <= n; i += 4 * V::width) {
    for (int k = 0; k < 4; ++k) {
      const V d = V::loadu(x + i + k * V::width) - shift;
      sum[k] = sum[k] + d;
      squares[k] = muladd(d, d, squares[k]);
    }
  }
  for (int k = 0; i < n; i += V::width, k = (k + 1) % 4) {
    const int lanes = n - i;
    V d = load<V>(x + i, lanes < V::width ? lanes : V::width) - shift;
    if (lanes < V::width) d = select(V::Mask::first(lanes), d, V::zero());
    sum[k] = sum[k] + d;
    squares[k] = muladd(d, d, squares[k]);
  }
  return {((sum[0] + sum[1]) + (sum[2] + sum[3])).reduce_add(),
          ((squares[0] + squares[1]) + (squares[2] + squares[3])).reduce_add()};
}

template <class V>
EDGELANE_INLINE void map_run(const float* x, float* y, int n, const NormalizeMap& m) {
  const V shift = V::broadcast(m.shift), factor = V::broadcast(m.factor), offset = V::broadcast(m.offset);
  const auto mapped = [&](int64_t i, int lanes) { return muladd(load<V>(x + i, lanes) - shift, factor, offset); };
  if (m.scale != nullptr && m.bias != nullptr) {
    for_vectors<V>(n, [&](int64_t i, int lanes) {
      store(muladd(mapped(i, lanes), load<V>(m.scale + i, lanes), load<V>(m.bias + i, lanes)), y + i, lanes);
    });
  } else if (m.scale != nullptr) {
    for_vectors<V>(n, [&](int64_t i, int lanes) { store(mapped(i, lanes) * load<V>(m.scale + i, lanes), y + i, lanes); });
  } else if (m.bias != nullptr) {
    for_vectors<V>(n, [&](int64_t i, int lanes) { store(mapped(i, lanes) + load<V>(m.bias + i, lanes), y + i, lanes); });
  } else {
    for_vectors<V>(n, [&](int64_t i, int lanes) { store(mapped(i, lanes), y + i, lanes); });
  }
}

// Nothing in here waits for the group before, so that the processor works at several groups at a time.
template <class V>
void normalize_groups(const float* x, int64_t x_step, float* y, int64_t y_step, int64_t groups, int n,
                      const NormalizeParameters& p) {
  const float share = 1.0f / static_cast<float>(n);
  for (int64_t g = 0; g < groups; ++g, x += x_step, y += y_step) {
    NormalizeMap m{0.0f, 0.0f, 0.0f, p.scale, p.bias};
    if (!p.mean_square) m.shift = sum<V>(x, n) * share;
    const Moments found = moments_of<V>(x, n, V::broadcast(m.shift));
    float rest = 0.0f, variance = found.squares * share;
    if (!p.mean_square) {
      rest = found.sum * share;
      variance -= rest * rest;
      if (variance < 0.0f) variance = 0.0f;
    }
    m.factor = 1.0f / std::sqrt(variance + p.epsilon);
    m.offset = -rest * m.factor;
    map_run<V>(x, y, n, m);
  }
}

template <class V>
float piece_sum(const float* x, int n) {
  return sum<V>(x, n);
}

template <class V>
void piece_moments(const float* x, int n, float shift, float* sum, float* squares) {
  const Moments found = moments_of<V>(x, n, V::broadcast(shift));
  *sum = found.sum;
  *squares = found.squares;
}

template <class V>
void piece_map(const float* x, float* y, int n, const NormalizeMap& m) {
  map_run<V>(x, y, n, m);
}

template <class V>
constexpr NormalizeRows make_rows() {
  return {normalize_groups<V>, piece_sum<V>, piece_moments<V>, piece_map<V>};
}

}  // namespace
}  // namespace edgelane
