// float32 depthwise convolution: y[r][x] = sum over taps of w[ky][kx] * x[r * stride + ky][x * stride + kx].
//
// Whole planes, where reading and storing past the ends of rows stays within them: down a column of vectors, each input row is
// loaded once, kernel_w vectors, and added to every output row that it belongs to. Borders come with the rows, and one call does
// all planes of a thread: of a 7x7 map, masks, calls and the border took more time than the sums.
//
// Elsewhere a tile is one vector of pixels in several output rows: 3x3 with stride 1 in four rows is 18 loads for 36
// multiply-adds.
//
// Weights stay in registers where they fit.
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
        lo(V::broadcast(a.activation.lo)),
        hi(V::broadcast(a.activation.hi)) {}

  EDGELANE_INLINE void operator()(V sum, int row, int column) const {
    if (residual != nullptr) sum = sum + columns.load(residual + row * residual_pitch + column, columns.lanes);
    columns.store(min(hi, max(lo, sum)), y + row * y_pitch + column);
  }
};

template <class V>
__attribute__((noinline)) void activate_run(const Activation& a, int64_t count, float* y) {
  for_vectors<V>(count, [&](int64_t i, int n) { store(apply_activation(load<V>(y + i, n), a), y + i, n); });
}

template <class V>
__attribute__((noinline)) void slope_run(V slope, int64_t count, float* y) {
  for_vectors<V>(count, [&](int64_t i, int n) { store(slope_lanes(load<V>(y + i, n), slope), y + i, n); });
}

// Joined: the zeros between rows are the kernel's own and stay zeros, so that all rows are one run. Of a 7x7 map, that is 4 whole
// vectors in place of 7 with masks and calls.
template <class V>
EDGELANE_INLINE void activate_rows(const DepthwiseArgs& a, const DepthwisePlane& p, bool joined) {
  if (p.slope == nullptr && a.activation.clamp) return;
  const int runs = joined ? 1 : a.rows;
  const int64_t count = joined ? (a.rows - 1) * a.y_pitch + a.width : a.width;
  for (int run = 0; run < runs; ++run) {
    float* const y = reinterpret_cast<float*>(p.y) + run * a.y_pitch;
    if (p.slope != nullptr)
      slope_run(V::broadcast(*p.slope), count, y);
    else
      activate_run<V>(a.activation.any, count, y);
  }
}

template <class VecF32, bool Fast = true>
struct DepthwiseF32 {
  using V = VecF32;
  static constexpr int kLanes = V::width;
  static constexpr int kRows = 4;  // of stride 1
  static constexpr int kInputBias = 0;
  static constexpr bool kFast = Fast;
  static constexpr bool kWhole = Fast;

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
    activate_rows<V>(a, p, false);
  }

  // Where a column of vectors, or a plane, begins.
  struct Place {
    const float *x, *residual;  // residual: or nullptr
    float* y;
    EDGELANE_INLINE Place moved(int64_t in_x, int64_t in_residual, int64_t in_y) const {
      return {x + in_x, residual == nullptr ? nullptr : residual + in_residual, y + in_y};
    }
  };

  // What a call of whole() computes with. All of it is in registers, or where stores of results cannot change it.
  template <int K>
  struct Whole {
    DepthwiseArgs a;
    V lo, hi, zero;
    V w[K * K], bias;
    // Lines of the next plane, asked for in the order of memory while columns of this one are computed, which jump from row to
    // row: no stream that the hardware would follow.
    const float* next_x;
    float* next_y;
  };

  template <int K>
  static EDGELANE_INLINE V add_row(V sum, const V (&in)[K], const V* w) {
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) sum = muladd(in[k], w[k], sum);
    return sum;
  }

  // Row j of the Stride input rows of a step adds to the output rows that began 0, ..., live - 1 steps ago. With row 0 a new one
  // begins, and all others grow a step older.
  template <int K, int Stride>
  static EDGELANE_INLINE void add_to_live(const Whole<K>& c, const V (&in)[K], int j, int live, V* sum) {
#pragma GCC unroll 8
    for (int age = live - 1; age >= 0; --age) {
      const V before = j > 0 ? sum[age] : age > 0 ? sum[age - 1] : c.bias;
      sum[age] = add_row(before, in, c.w + (age * Stride + j) * K);
    }
  }

  // Down a column of vectors, an output row in each step: the first of the step's input rows finishes the oldest output row.
  // Lanes that are no pixels, and `gap` elements behind the vector, become zeros.
  template <int K, int Stride, bool Prefetch>
  static EDGELANE_INLINE void column(Whole<K>& c, Place at, int rows, typename V::Mask pixels, int gap) {
    constexpr int kLive = (K - 1) / Stride;  // output rows that are neither finished nor begun between two steps
    const Columns<V, false> columns(kLanes);
    V sum[kLive], in[K];
#pragma GCC unroll 8
    for (int step = 0; step < kLive; ++step, at.x += c.a.x_next_row)
#pragma GCC unroll 2
      for (int j = 0; j < Stride; ++j) {
        columns.template taps<K, Stride>(at.x + j * c.a.x_tap_row, 1, in);
        add_to_live<K, Stride>(c, in, j, step + 1, sum);
      }
    for (int row = 0;; at = at.moved(c.a.x_next_row, c.a.residual_pitch, c.a.y_pitch)) {
      if constexpr (Prefetch) {
#pragma GCC unroll 4
        for (int i = 0; i < Stride * Stride; ++i, c.next_x += kLanes) __builtin_prefetch(c.next_x, 0, 2);
        __builtin_prefetch(c.next_y, 1, 2);
        c.next_y += kLanes;
      }
      columns.template taps<K, Stride>(at.x, 1, in);
      V done = add_row(sum[kLive - 1], in, c.w + (K - 1) * K);
      add_to_live<K, Stride>(c, in, 0, kLive, sum);
      if (at.residual != nullptr) done = done + V::loadu(at.residual);
      select(pixels, min(c.hi, max(c.lo, done)), c.zero).storeu(at.y);
      for (int i = 0; i < gap; i += kLanes) c.zero.storeu(at.y + kLanes + i);
      if (++row == rows) return;
      if constexpr (Stride == 2) {
        columns.template taps<K, Stride>(at.x + c.a.x_tap_row, 1, in);
        add_to_live<K, Stride>(c, in, 1, kLive, sum);
      }
    }
  }

  // Vectors are stored whole. The last one of a row, and the zeros behind it, may reach into the next row, whose pixels overwrite
  // them: rows are computed in order, and of each band of rows the last column first. With bands, several columns pass over
  // memory nearly in order, too.
  template <int K, int Stride, bool Single>
  static EDGELANE_INLINE void whole_plane(Whole<K>& c, Place plane) {
    const int64_t end = (c.a.rows - 1) * c.a.y_pitch + c.a.last_column + c.a.last_extent;
    for (int64_t i = -c.a.y_origin; i < 0; i += kLanes) c.zero.store(plane.y + i);
    for (int64_t i = end / kLanes * kLanes; i < c.a.y_plane - c.a.y_origin; i += kLanes) c.zero.store(plane.y + i);

    const int last = c.a.last_column, gap = c.a.last_extent - kLanes;
    const auto all = V::Mask::first(kLanes), pixels = V::Mask::first(c.a.width - last);
    if constexpr (Single) return column<K, Stride, false>(c, plane, c.a.rows, pixels, gap);
    constexpr int kBand = 16;
    for (int row = 0; row < c.a.rows; row += kBand) {
      const int rows = kBand < c.a.rows - row ? kBand : c.a.rows - row;
      const Place at = plane.moved(row * c.a.x_next_row, row * c.a.residual_pitch, row * c.a.y_pitch);
      column<K, Stride, true>(c, at.moved(last * Stride, last, last), rows, pixels, gap);
      for (int i = 0; i < last; i += kLanes) column<K, Stride, true>(c, at.moved(i * Stride, i, i), rows, all, 0);
    }
  }

  // Single: a row is one vector.
  template <int K, int Stride, bool Single>
  static void whole(const DepthwiseArgs& a, const DepthwisePlane& first, int64_t planes) {
    Whole<K> c;
    c.a = a;
    c.lo = V::broadcast(a.activation.lo);
    c.hi = V::broadcast(a.activation.hi);
    c.zero = in_register(V::zero());  // a constant to the compiler would make calls of memset of the loops that store it
    const bool joined = first.slope != nullptr || activate(0.0f, a.activation.any) == 0.0f;
    DepthwisePlane p = first;
    for (int64_t i = 0; i < planes; ++i) {
      const Place plane = {reinterpret_cast<const float*>(p.x), reinterpret_cast<const float*>(p.residual),
                           reinterpret_cast<float*>(p.y)};
      const float* weights = reinterpret_cast<const float*>(p.weights);
#pragma GCC unroll 64
      for (int k = 0; k < K * K; ++k) c.w[k] = V::broadcast(weights[k]);
      c.bias = V::broadcast(*static_cast<const float*>(p.bias));
      c.next_x = plane.x + c.a.x_plane;
      c.next_y = plane.y + c.a.y_plane;
      whole_plane<K, Stride, Single>(c, plane);
      activate_rows<V>(a, p, joined);  // not c.a: nothing of c may have an address
      const Place next = plane.moved(c.a.x_plane, c.a.residual_plane, c.a.y_plane);
      p.x = reinterpret_cast<const uint8_t*>(next.x);
      p.residual = reinterpret_cast<const uint8_t*>(next.residual);
      p.y = reinterpret_cast<uint8_t*>(next.y);
      p.weights = reinterpret_cast<const uint8_t*>(weights + K * K);
      p.bias = static_cast<const float*>(p.bias) + 1;
      if (p.slope != nullptr) ++p.slope;
    }
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
    activate_rows<V>(a, p, false);
  }
};

}  // namespace
}  // namespace edgelane
