// Bodies of TransposeRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/conv_transpose2d/rows.hpp"
#include "kernels/simd/activation.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

// kTransposeOc channels by kVectors vectors of pixels, from pixel `first` on.
template <class V, int kVectors>
EDGELANE_INLINE void accumulate_tile(const float* x, int64_t x_step, int ic, const float* weights, const TransposeTap* taps,
                                     int tap_count, const float* bias, float* y, int64_t y_step, int first, int n) {
  static_assert(kVectors * V::width <= kTransposeSlack, "a tile reads no further than the slack");
  V acc[kTransposeOc][kVectors];
  for (int o = 0; o < kTransposeOc; ++o) {
    for (int v = 0; v < kVectors; ++v) acc[o][v] = V::broadcast(bias[o]);
  }
  for (int t = 0; t < tap_count; ++t) {
    const float* pixel = x + taps[t].pixel + first;
    const float* w = weights + taps[t].weight;
    for (int i = 0; i < ic; ++i, pixel += x_step, w += kTransposeOc) {
      for (int v = 0; v < kVectors; ++v) {
        const V value = V::loadu(pixel + v * V::width);
        for (int o = 0; o < kTransposeOc; ++o) acc[o][v] = muladd(V::broadcast(w[o]), value, acc[o][v]);
      }
    }
  }
  for (int o = 0; o < kTransposeOc; ++o) {
    for (int v = 0; v < kVectors; ++v) {
      const int j = first + v * V::width, left = n - j;
      if (left > 0) store(acc[o][v], y + o * y_step + j, left < V::width ? left : V::width);
    }
  }
}

template <class V>
void accumulate(const float* x, int64_t x_step, int ic, const float* weights, const TransposeTap* taps, int tap_count,
                const float* bias, float* y, int64_t y_step, int n) {
  int j = 0;
  for (; j + V::width < n; j += 2 * V::width) {
    accumulate_tile<V, 2>(x, x_step, ic, weights, taps, tap_count, bias, y, y_step, j, n);
  }
  if (j < n) accumulate_tile<V, 1>(x, x_step, ic, weights, taps, tap_count, bias, y, y_step, j, n);
}

template <class V>
void activate_row(float* y, int64_t n, const Activation& activation) {
  const Activation a = activation;
  for_vectors<V>(n, [&](int64_t i, int lanes) { store(apply_activation(load<V>(y + i, lanes), a), y + i, lanes); });
}

template <class V>
constexpr TransposeRows make_rows() {
  return {accumulate<V>, activate_row<V>};
}

}  // namespace
}  // namespace edgelane
