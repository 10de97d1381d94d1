// Bodies of ResizeRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/resize/rows.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

template <class V, int Taps>
EDGELANE_INLINE void blend_rows_of(const float* const* x, const float* weight, float* y, int64_t n) {
  V w[Taps];
  const float* from[Taps];
  for (int k = 0; k < Taps; ++k) w[k] = V::broadcast(weight[k]), from[k] = x[k];
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    V s = w[0] * load<V>(from[0] + i, lanes);
    for (int k = 1; k < Taps; ++k) s = muladd(w[k], load<V>(from[k] + i, lanes), s);
    store(s, y + i, lanes);
  });
}

template <class V>
void blend_rows(const float* const* x, const float* weight, int taps, float* y, int64_t n) {
  taps == 2 ? blend_rows_of<V, 2>(x, weight, y, n) : blend_rows_of<V, 4>(x, weight, y, n);
}

// Enlarging: two neighbouring vectors of inputs hold all that a vector of outputs is made of.
template <class V, int Taps>
EDGELANE_INLINE void blend_near(const ResizeColumns& c, const float* x, int64_t n, float* y) {
  const int64_t tap = c.vectors * V::width;
  for (int64_t v = 0; v < c.vectors; ++v) {
    const float* from = x + c.first[v];
    const auto left = static_cast<int>(n - c.first[v] < 2 * V::width ? n - c.first[v] : 2 * V::width);
    const V a = load<V>(from, left < V::width ? left : V::width);
    const V b = left > V::width ? load<V>(from + V::width, left - V::width) : V::zero();
    const int64_t at = v * V::width;
    V s = V::loadu(c.weight + at) * pick(a, b, V::Int::loadu(c.index + at));
#pragma GCC unroll 4
    for (int k = 1; k < Taps; ++k)
      s = muladd(V::loadu(c.weight + k * tap + at), pick(a, b, V::Int::loadu(c.index + k * tap + at)), s);
    s.storeu(y + at);
  }
}

// The compiler turns the look-ups into gathers where the instruction set has them.
template <class V, int Taps>
EDGELANE_INLINE void blend_far(const ResizeColumns& c, const float* x, float* y) {
  const int64_t tap = c.vectors * V::width;
  for (int64_t v = 0; v < c.vectors; ++v) {
    const float* from = x + c.first[v];
#pragma GCC ivdep
    for (int64_t i = v * V::width; i < (v + 1) * V::width; ++i) {
      float s = c.weight[i] * from[c.index[i]];
      for (int k = 1; k < Taps; ++k) s += c.weight[k * tap + i] * from[c.index[k * tap + i]];
      y[i] = s;
    }
  }
}

template <class V>
void blend_columns(const ResizeColumns& c, int taps, const float* x, int64_t n, float* y) {
  if (c.near)
    taps == 2 ? blend_near<V, 2>(c, x, n, y) : blend_near<V, 4>(c, x, n, y);
  else
    taps == 2 ? blend_far<V, 2>(c, x, y) : blend_far<V, 4>(c, x, y);
}

template <class V>
constexpr ResizeRows make_rows() {
  return {V::width, blend_rows<V>, blend_columns<V>};
}

}  // namespace
}  // namespace edgelane
