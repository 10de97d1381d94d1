// int8 depthwise convolution. The four bytes of a plane element are four channels, which a dot product would add up; so the bytes
// of four neighbouring taps are interleaved first ("spread"): lane i of result k holds, of pixel 4 (i / 4) + k and channel i % 4,
// the four taps, and a dot product of it with the channel's four weights is a row of up to four taps. Spreading stays within
// blocks of 16 bytes (four pixels), and packing four results to bytes undoes its order. A spread input row serves every output
// row that it belongs to.
//
// A Path is a dot product of quads with two conversions: Path::inputs(quads as stored), Path::weights(quads of int8).
// Path::kRows is how many output rows share a spread input row, 0 for no fast kernels.
#pragma once

#include "kernels/conv2d/requantize_lanes.hpp"
#include "kernels/depthwise/stencil.hpp"

namespace edgelane {
namespace {

constexpr int kSpread = 4;  // vectors of sums for one vector of pixels

template <class I>
EDGELANE_INLINE void spread(I x0, I x1, I x2, I x3, I (&quads)[kSpread]) {
  const I low01 = interleave_bytes_low(x0, x1), low23 = interleave_bytes_low(x2, x3);
  const I high01 = interleave_bytes_high(x0, x1), high23 = interleave_bytes_high(x2, x3);
  quads[0] = interleave_words_low(low01, low23);
  quads[1] = interleave_words_high(low01, low23);
  quads[2] = interleave_words_low(high01, high23);
  quads[3] = interleave_words_high(high01, high23);
}

template <class Path>
struct DepthwiseS8 {
  using V = typename Path::Float;
  using I = typename V::Int;
  static constexpr int kLanes = V::width;
  static constexpr int kRows = Path::kRows;  // of stride 1
  static constexpr int kInputBias = Path::kInputBias;
  static constexpr bool kFast = kRows > 0;
  static constexpr bool kWhole = false;
  static constexpr int kVectorBytes = kDepthwiseLanes * 4;  // of packed weights

  // What ends a tile. Copies of all that it needs, which stores of results cannot change.
  template <bool Narrow>
  struct Finish {
    const Columns<I, Narrow>& columns;
    uint32_t* y;
    const uint32_t* residual;
    int64_t y_pitch, residual_pitch;
    V multiplier, slope;
    I keep, padding;  // bytes of the quad's channels, and the zero point in the others
    Requantize r;

    EDGELANE_INLINE Finish(const Columns<I, Narrow>& c, const DepthwiseArgs& a, const DepthwisePlane& p)
        : columns(c),
          y(reinterpret_cast<uint32_t*>(p.y)),
          residual(reinterpret_cast<const uint32_t*>(p.residual)),
          y_pitch(a.y_pitch),
          residual_pitch(a.residual_pitch),
          multiplier(V::loadu(p.multiplier)),
          slope(p.slope != nullptr ? V::loadu(p.slope) : V::zero()),
          r(a.requantize) {
      const uint32_t used = p.channels >= kChannelGroup ? ~0u : (1u << 8 * p.channels) - 1;
      keep = I::broadcast(static_cast<int32_t>(used));
      padding = I::broadcast(static_cast<int32_t>(r.output_border & ~used));
    }

    // Of the pixels of a tile, in the order of its sums.
    EDGELANE_INLINE void load_residual(I (&stored)[kSpread], int row, int column) const {
#pragma GCC unroll 4
      for (int k = 0; k < kSpread; ++k) stored[k] = I::zero();
      if (!r.has_residual) return;
      const uint32_t* from = residual + row * residual_pitch + column;
      const I quads = columns.load(from, columns.lanes);
      spread(quads, I::zero(), I::zero(), I::zero(), stored);
    }

    EDGELANE_INLINE void store(const V (&real)[kSpread], int row, int column) const {
      const I zero = I::broadcast(r.output_zero);
      const I bytes =
          pack_bytes(real[0].to_int() + zero, real[1].to_int() + zero, real[2].to_int() + zero, real[3].to_int() + zero);
      const I quads = (bytes & keep) | padding;
      columns.store(quads, y + row * y_pitch + column);
    }

    // The activation is a clamp or slopes, the result int8.
    EDGELANE_INLINE void operator()(const I (&sum)[kSpread], int row, int column) const {
      I stored[kSpread];
      load_residual(stored, row, column);
      V real[kSpread];
#pragma GCC unroll 4
      for (int k = 0; k < kSpread; ++k) real[k] = requantize_lanes<false>(sum[k], multiplier, slope, stored[k], r);
      store(real, row, column);
    }
  };

  // Any activation, to int8 or float. Sums come through memory, so that the call costs the fast loop no registers.
  template <bool Narrow>
  static __attribute__((noinline)) void finish_any(const DepthwiseArgs& a, const DepthwisePlane& p,
                                                   const int32_t (&sums)[kSpread][kLanes], int row, int column) {
    const Columns<I, Narrow> columns(a.width);
    const Finish<Narrow> finish(columns, a, p);
    I stored[kSpread];
    finish.load_residual(stored, row, column);
    V real[kSpread];
    for (int k = 0; k < kSpread; ++k) {
      const I sum = I::loadu(sums[k]);
      real[k] = a.requantize.general ? requantize_lanes<true>(sum, finish.multiplier, finish.slope, stored[k], a.requantize)
                                     : requantize_lanes<false>(sum, finish.multiplier, finish.slope, stored[k], a.requantize);
    }
    if (!a.requantize.float_output) return finish.store(real, row, column);
    float lanes[kSpread][kLanes];
    for (int k = 0; k < kSpread; ++k) real[k].storeu(lanes[k]);
    for (int c = 0; c < p.channels; ++c) {
      float* to = reinterpret_cast<float*>(p.y) + c * a.y_plane + row * a.y_pitch + column;
      for (int i = 0; i < columns.pixels; ++i) to[i] = lanes[i % kSpread][i / kSpread * kChannelGroup + c];
    }
  }

  template <bool Narrow>
  static EDGELANE_INLINE void finish_tile(const Finish<Narrow>& finish, bool simple, const DepthwiseArgs& a,
                                          const DepthwisePlane& p, const I (&sum)[kSpread], int row, int column) {
    if (simple) return finish(sum, row, column);
    alignas(64) int32_t sums[kSpread][kLanes];
#pragma GCC unroll 4
    for (int k = 0; k < kSpread; ++k) sum[k].storeu(sums[k]);
    finish_any<Narrow>(a, p, sums, row, column);
  }

  // Adds four taps, spread, to the sums of a row.
  static EDGELANE_INLINE void add(I (&sum)[kSpread], const typename Path::Inputs (&x)[kSpread], typename Path::Weights w) {
#pragma GCC unroll 4
    for (int k = 0; k < kSpread; ++k) sum[k] = Path::multiply_add(sum[k], x[k], w);
  }

  static EDGELANE_INLINE void spread_inputs(I x0, I x1, I x2, I x3, typename Path::Inputs (&x)[kSpread]) {
    I quads[kSpread];
    spread(x0, x1, x2, x3, quads);
#pragma GCC unroll 4
    for (int k = 0; k < kSpread; ++k) x[k] = Path::inputs(quads[k]);
  }

  template <int K, int Stride, bool Narrow>
  static void fast(const DepthwiseArgs& a, const DepthwisePlane& p) {
    constexpr int kTile = rows_at_once(Stride, kRows), kInputRows = (kTile - 1) * Stride + K;
    constexpr int kQuads = (K + 3) / 4;
    typename Path::Weights w[K * kQuads];
    for (int i = 0; i < K * kQuads; ++i) w[i] = Path::weights(I::loadu(p.weights + i * kVectorBytes));
    const I bias = I::loadu(p.bias);
    const Columns<I, Narrow> columns(a.width);
    const Finish<Narrow> finish(columns, a, p);
    const bool simple = !a.requantize.general && !a.requantize.float_output;
    const uint32_t* const origin = reinterpret_cast<const uint32_t*>(p.x);
    const int64_t next_row = a.x_next_row, tap_row = a.x_tap_row;
    const int tap = a.x_tap, width = a.width, step = a.row_step;
    for_row_groups<kTile>(a.rows, step, [&](int first) {
      const uint32_t* rows = origin + first * next_row;
      for_columns<kLanes, Narrow>(width, [&](int column) {
        const uint32_t* x = rows + column * Stride;
        I sum[kTile][kSpread];
#pragma GCC unroll 4
        for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 4
          for (int k = 0; k < kSpread; ++k) sum[r][k] = bias;
#pragma GCC unroll 16
        for (int i = 0; i < kInputRows; ++i, x += tap_row) {
          I in[kQuads * 4];
          columns.template taps<K, Stride>(x, tap, in);
#pragma GCC unroll 4
          for (int k = K; k < kQuads * 4; ++k) in[k] = in[0];  // their weights are 0
#pragma GCC unroll 2
          for (int q = 0; q < kQuads; ++q) {
            typename Path::Inputs quads[kSpread];
            spread_inputs(in[4 * q], in[4 * q + 1], in[4 * q + 2], in[4 * q + 3], quads);
#pragma GCC unroll 4
            for (int r = 0; r < kTile; ++r) {
              const int ky = i - r * Stride;
              if (ky >= 0 && ky < K) add(sum[r], quads, w[ky * kQuads + q]);
            }
          }
        }
#pragma GCC unroll 4
        for (int r = 0; r < kTile; ++r) finish_tile(finish, simple, a, p, sum[r], first + r * step, column);
      });
    });
  }

  // Any kernel, dilation and vertical stride, one output row at a time.
  template <int Stride, bool Narrow>
  static void any(const DepthwiseArgs& a, const DepthwisePlane& p) {
    const I bias = I::loadu(p.bias);
    const Columns<I, Narrow> columns(a.width);
    const Finish<Narrow> finish(columns, a, p);
    const bool simple = !a.requantize.general && !a.requantize.float_output;
    for (int row = 0; row < a.rows; ++row) {
      const uint32_t* rows = reinterpret_cast<const uint32_t*>(p.x) + row * a.x_next_row;
      for_columns<kLanes, Narrow>(a.width, [&](int column) {
        const uint8_t* w = p.weights;
        I sum[kSpread] = {bias, bias, bias, bias};
        for (int ky = 0; ky < a.kernel_h; ++ky) {
          const uint32_t* x = rows + ky * a.x_tap_row + column * Stride;
          for (int kx = 0; kx < a.kernel_w; kx += 4, w += kVectorBytes) {
            I in[4];
            for (int k = 0; k < 4; ++k)  // past the last tap any will do: their weights are 0
              in[k] = columns.template tap<Stride>(x + (kx + k < a.kernel_w ? kx + k : 0) * a.x_tap);
            typename Path::Inputs quads[kSpread];
            spread_inputs(in[0], in[1], in[2], in[3], quads);
            add(sum, quads, Path::weights(I::loadu(w)));
          }
        }
        finish_tile(finish, simple, a, p, sum, row, column);
      });
    }
  }
};

}  // namespace
}  // namespace edgelane
