// float32 depthwise convolution: y[r][x] = sum over taps of w[ky][kx] * x[r * stride + ky][x * stride + kx].
//
// A tile is one vector of pixels in several output rows. Each input row is loaded once, kernel_w vectors, and used by every
// output row that it belongs to: 3x3 with stride 1 in four rows is 18 loads for 36 multiply-adds. Weights stay in registers where
// they fit.
#pragma once

#include "kernels/conv2d/requantize_lanes.hpp"
#include "kernels/depthwise/stencil.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

// What ends a tile: residual and clamp. Slopes and other activations are applied to whole rows afterwards: a call here would cost
// the tile its registers.
template <class V, bool Narrow>
struct FinishF32 {
  const Columns<V, Narrow>& columns;
  const float* residual;
  float* y;
  int64_t residual_pitch, y_pitch;
  V lo, hi;

  EDGELANE_INLINE FinishF32(const Columns<V, Narrow>& c, const DepthwiseArgs& a, const DepthwisePlane& p)
      : columns(c),
        residual(reinterpret_cast<const float*>(p.residual)),
        y(reinterpret_cast<float*>(p.y)),
        residual_pitch(a.residual_pitch),
        y_pitch(a.y_pitch),
        lo(V::broadcast(a.lo)),
        hi(V::broadcast(a.hi)) {}

  EDGELANE_INLINE void operator()(V sum, int row, int column) const {
    if (residual != nullptr) sum = sum + columns.load(residual + row * residual_pitch + column, columns.lanes);
    columns.store(min(hi, max(lo, sum)), y + row * y_pitch + column);
  }
};

template <class V>
__attribute__((noinline)) void activate_row(const DepthwiseArgs& a, float* y) {
  for_vectors<V>(a.width, [&](int64_t i, int n) { store(apply_activation(load<V>(y + i, n), a.activation), y + i, n); });
}

template <class V>
__attribute__((noinline)) void slope_row(int64_t width, V slope, float* y) {
  for_vectors<V>(width, [&](int64_t i, int n) { store(slope_lanes(load<V>(y + i, n), slope), y + i, n); });
}

template <class V>
EDGELANE_INLINE void activate_rows(const DepthwiseArgs& a, const DepthwisePlane& p) {
  if (p.slope == nullptr && a.clamp) return;
  for (int row = 0; row < a.rows; ++row) {
    float* const y = reinterpret_cast<float*>(p.y) + row * a.y_pitch;
    if (p.slope != nullptr)
      slope_row(a.width, V::broadcast(*p.slope), y);
    else
      activate_row<V>(a, y);
  }
}

template <class VecF32, bool Fast = true>
struct DepthwiseF32 {
  using V = VecF32;
  static constexpr int kLanes = V::width;
  static constexpr int kRows = 4;  // of stride 1
  static constexpr int kInputBias = 0;
  static constexpr bool kFast = Fast;

  template <int K, int Stride, bool Narrow>
  static void fast(const DepthwiseArgs& a, const DepthwisePlane& p) {
    constexpr int kTile = rows_at_once(Stride, kRows), kInputRows = (kTile - 1) * Stride + K;
    const float* weights = reinterpret_cast<const float*>(p.weights);
    V w[K * K];
    for (int i = 0; i < K * K; ++i) w[i] = V::broadcast(weights[i]);
    const V bias = V::broadcast(*static_cast<const float*>(p.bias));
    // In registers: a store of results might change what lies in memory.
    const Columns<V, Narrow> columns(a.width);
    const FinishF32<V, Narrow> finish(columns, a, p);
    const float* const origin = reinterpret_cast<const float*>(p.x);
    const int64_t next_row = a.x_next_row, tap_row = a.x_tap_row;
    const int tap = a.x_tap, width = a.width, step = a.row_step;
    for_row_groups<kTile>(a.rows, step, [&](int first) {
      const float* rows = origin + first * next_row;
      for_columns<V::width, Narrow>(width, [&](int column) {
        const float* x = rows + column * Stride;
        V sum[kTile];
#pragma GCC unroll 8
        for (int r = 0; r < kTile; ++r) sum[r] = bias;
#pragma GCC unroll 16
        for (int i = 0; i < kInputRows; ++i, x += tap_row) {
          V in[K];
          columns.template taps<K, Stride>(x, tap, in);
#pragma GCC unroll 8
          for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
            for (int r = 0; r < kTile; ++r) {
              const int ky = i - r * Stride;
              if (ky >= 0 && ky < K) sum[r] = muladd(in[k], w[ky * K + k], sum[r]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < kTile; ++r) finish(sum[r], first + r * step, column);
      });
    });
    activate_rows<V>(a, p);
  }

  // Any kernel, dilation and vertical stride, one output row at a time.
  template <int Stride, bool Narrow>
  static void any(const DepthwiseArgs& a, const DepthwisePlane& p) {
    const V bias = V::broadcast(*static_cast<const float*>(p.bias));
    const Columns<V, Narrow> columns(a.width);
    const FinishF32<V, Narrow> finish(columns, a, p);
    for (int row = 0; row < a.rows; ++row) {
      const float* rows = reinterpret_cast<const float*>(p.x) + row * a.x_next_row;
      for_columns<V::width, Narrow>(a.width, [&](int column) {
        const float* w = reinterpret_cast<const float*>(p.weights);
        V sum = bias;
        for (int ky = 0; ky < a.kernel_h; ++ky) {
          const float* x = rows + ky * a.x_tap_row + column * Stride;
          for (int kx = 0; kx < a.kernel_w; ++kx, x += a.x_tap, ++w)
            sum = muladd(columns.template tap<Stride>(x), V::broadcast(*w), sum);
        }
        finish(sum, row, column);
      });
    }
    activate_rows<V>(a, p);
  }
};

}  // namespace
}  // namespace edgelane
