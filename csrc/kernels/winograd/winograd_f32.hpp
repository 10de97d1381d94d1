// Winograd convolution F(4x4, 3x3), float32: tiles lie in the lanes. For a block of tiles the inputs of all channels are
// transformed into 36 planes; then, for a few output channels at a time, each plane is a matrix product over the input channels,
// whose sums stay in the first-level cache until they are transformed into pixels.
//
// Included by winograd_f32_<isa>.cpp only; everything is in an anonymous namespace or depends on a type that is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/conv2d/requantize_lanes.hpp"
#include "kernels/winograd/winograd_kernel.hpp"

namespace edgelane {
namespace {

constexpr float kA = static_cast<float>(kPointA), kB = static_cast<float>(kPointB);
constexpr float kA2 = 0.5f, kB2 = 2.0f;  // exactly
constexpr float kA3 = kA * kA2, kB3 = kB * kB2;

// Six inputs to their values at the six points. d and y may be the same.
template <class V>
EDGELANE_INLINE void transform_six(const V (&d)[kWinogradPatch], V (&y)[kWinogradPatch]) {
  const V even_a = muladd(d[2], V::broadcast(-kB2), d[4]), odd_a = muladd(d[1], V::broadcast(-kB2), d[3]);
  const V even_b = muladd(d[2], V::broadcast(-kA2), d[4]), odd_b = muladd(d[1], V::broadcast(-kA2), d[3]);
  const V first = muladd(d[2], V::broadcast(-(kA2 + kB2)), d[0] + d[4]);
  const V last = muladd(d[3], V::broadcast(-(kA2 + kB2)), d[1] + d[5]);
  y[0] = first;
  y[1] = muladd(odd_a, V::broadcast(kA), even_a);
  y[2] = muladd(odd_a, V::broadcast(-kA), even_a);
  y[3] = muladd(odd_b, V::broadcast(kB), even_b);
  y[4] = muladd(odd_b, V::broadcast(-kB), even_b);
  y[5] = last;
}

// Products at the six points to four outputs.
template <class V>
EDGELANE_INLINE void transform_four(const V (&m)[kWinogradPatch], V (&y)[kWinogradTile]) {
  const V even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
  y[0] = m[0] + (even_a + even_b);
  y[1] = muladd(odd_a, V::broadcast(kA), odd_b * V::broadcast(kB));
  y[2] = muladd(even_a, V::broadcast(kA2), even_b * V::broadcast(kB2));
  y[3] = muladd(odd_a, V::broadcast(kA3), muladd(odd_b, V::broadcast(kB3), m[5]));
}

// The parts of a vector of tiles that lie in one row of tiles: calls f(lane, tiles, tile row, tile column) for each.
template <class F>
EDGELANE_INLINE void for_tile_rows(const WinogradArgs& a, int first_tile, int lanes, const F& f) {
  int row = first_tile / a.tile_columns, column = first_tile % a.tile_columns;
  for (int lane = 0; lane < lanes && first_tile + lane < a.tiles; ++row, column = 0) {
    const int count = std::min({a.tile_columns - column, lanes - lane, a.tiles - first_tile - lane});
    f(lane, count, row, column);
    lane += count;
  }
}

template <class V, int BlockOc>
struct Winograd {
  static constexpr int kLanes = V::width;
  // Weights, which come from beyond the second-level cache, are asked for as in StripTile: in a ResNet-50, 14x14 maps took 1.5
  // times as long without.
  static constexpr int kWeightsAhead = 1024;
  static constexpr int kPixels = kLanes * kWinogradTile;  // columns of pixels of a vector of tiles

  // The six values of columns `from` to from + 4 * count - 1 of a row of tiles; inputs that no output needs are 0. A vector may
  // be written past them.
  static EDGELANE_INLINE void transform_columns(const WinogradArgs& a, const float* plane, int row, int from, int count,
                                                float* target, int64_t target_pitch) {
    const float* const x = plane + row * kWinogradTile * a.input_pitch + from;
    const int rows = a.input_rows - row * kWinogradTile, columns = std::min(a.input_columns - from, count * kWinogradTile);
    for (int at = 0; at < count * kWinogradTile; at += kLanes) {
      const int left = columns - at;
      V d[kWinogradPatch];
#pragma GCC unroll 6
      for (int r = 0; r < kWinogradPatch; ++r) {
        const float* p = x + r * a.input_pitch + at;
        d[r] = r >= rows || left <= 0 ? V::zero() : left >= kLanes ? V::loadu(p) : V::load_first(p, left);
      }
      transform_six(d, d);
#pragma GCC unroll 6
      for (int r = 0; r < kWinogradPatch; ++r) d[r].storeu(target + r * target_pitch + at);
    }
  }

  static void transform_input(const WinogradArgs& a, int first_tile, int vectors, int first, int last) {
    constexpr int64_t kPitch = kPixels + kLanes;                        // a vector may be written past the last tile
    float own[kWinogradPatch * kPitch], next[kWinogradPatch * kPitch];  // columns 4t to 4t + 3 of tile t, and 4t + 4 to 4t + 7
    const int64_t tiles = static_cast<int64_t>(vectors) * kLanes, plane_step = a.input_channels * tiles;
    std::fill(own, own + kWinogradPatch * kPitch, 0.0f);  // lanes past the last tile
    std::fill(next, next + kWinogradPatch * kPitch, 0.0f);
    for (int channel = first; channel < last; ++channel) {
      const float* plane = a.input + channel * a.input_plane;
      for (int v = 0; v < vectors; ++v) {
        for_tile_rows(a, first_tile + v * kLanes, kLanes, [&](int lane, int count, int row, int column) {
          const int from = column * kWinogradTile, at = lane * kWinogradTile;
          transform_columns(a, plane, row, from, count, own + at, kPitch);
          transform_columns(a, plane, row, from + kWinogradTile, count, next + at, kPitch);
        });
        float* y = a.products + channel * tiles + v * kLanes;
        for (int r = 0; r < kWinogradPatch; ++r, y += kWinogradPatch * plane_step) {
          V d[kWinogradPatch];
          split_columns(own + r * kPitch, d[0], d[1], d[2], d[3]);
          split_columns(next + r * kPitch, d[4], d[5]);
          transform_six(d, d);
#pragma GCC unroll 6
          for (int c = 0; c < kWinogradPatch; ++c) d[c].storeu(y + c * plane_step);
        }
      }
    }
  }

  // Of groups of four neighbours, the first, second, third and fourth ones.
  static EDGELANE_INLINE void split_columns(const float* x, V& c0, V& c1, V& c2, V& c3) {
    const V x0 = V::loadu(x), x1 = V::loadu(x + kLanes), x2 = V::loadu(x + 2 * kLanes), x3 = V::loadu(x + 3 * kLanes);
    const V even0 = even_lanes(x0, x1), even1 = even_lanes(x2, x3), odd0 = odd_lanes(x0, x1), odd1 = odd_lanes(x2, x3);
    c0 = even_lanes(even0, even1);
    c1 = even_lanes(odd0, odd1);
    c2 = odd_lanes(even0, even1);
    c3 = odd_lanes(odd0, odd1);
  }
  static EDGELANE_INLINE void split_columns(const float* x, V& c0, V& c1) {
    V unused2, unused3;
    split_columns(x, c0, c1, unused2, unused3);
  }

  // The matrix product of one plane: sums [BlockOc][Vectors] over the input channels.
  template <int Vectors>
  static __attribute__((noinline)) void multiply_plane(const float* x, const float* w, int channels, float* sums) {
    V acc[BlockOc][Vectors];
#pragma GCC unroll 16
    for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[o][v] = V::zero();
    for (int c = 0; c < channels; ++c, x += Vectors * kLanes, w += BlockOc) {
      EDGELANE_KEEP_POINTER(x);
      __builtin_prefetch(w + kWeightsAhead);
      V in[Vectors];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) in[v] = V::loadu(x + v * kLanes);
#pragma GCC unroll 16
      for (int o = 0; o < BlockOc; ++o) {
        const V weight = V::broadcast(w[o]);
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) acc[o][v] = muladd(in[v], weight, acc[o][v]);
      }
    }
#pragma GCC unroll 16
    for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[o][v].storeu(sums + (o * Vectors + v) * kLanes);
  }

  template <int Vectors>
  static void multiply(const WinogradArgs& a, int first_tile, int first, int last) {
    alignas(64) float sums[kWinogradPlanes][BlockOc * Vectors * kLanes];
    for (int block = first; block < last; ++block) {
      const int64_t plane_weights = static_cast<int64_t>(a.input_channels) * BlockOc;
      const float* w = a.weights + block * kWinogradPlanes * plane_weights;
      const float* x = a.products;
      for (int p = 0; p < kWinogradPlanes;
           ++p, w += plane_weights, x += static_cast<int64_t>(a.input_channels) * Vectors * kLanes)
        multiply_plane<Vectors>(x, w, a.input_channels, sums[p]);
      const int channels = std::min(BlockOc, a.output_channels - block * BlockOc);
      for (int o = 0; o < channels; ++o)
        for (int v = 0; v < Vectors; ++v)
          transform_output(a, &sums[0][(o * Vectors + v) * kLanes], BlockOc * Vectors * kLanes, first_tile + v * kLanes,
                           block * BlockOc + o);
    }
  }

  // From the sums of one output channel, `step` elements from plane to plane, to stored pixels.
  static EDGELANE_INLINE void transform_output(const WinogradArgs& a, const float* sums, int64_t step, int first_tile, int oc) {
    V columns[kWinogradTile][kWinogradPatch];
#pragma GCC unroll 6
    for (int c = 0; c < kWinogradPatch; ++c) {
      V m[kWinogradPatch], y[kWinogradTile];
#pragma GCC unroll 6
      for (int r = 0; r < kWinogradPatch; ++r) m[r] = V::loadu(sums + (r * kWinogradPatch + c) * step);
      transform_four(m, y);
#pragma GCC unroll 4
      for (int r = 0; r < kWinogradTile; ++r) columns[r][c] = y[r];
    }
    alignas(64) float rows[kWinogradTile][kPixels + kLanes];
    const V bias = V::broadcast(a.bias[oc]);
#pragma GCC unroll 4
    for (int r = 0; r < kWinogradTile; ++r) {
      V y[kWinogradTile];
      transform_four(columns[r], y);
      const V low02 = interleave_low(y[0] + bias, y[2] + bias), high02 = interleave_high(y[0] + bias, y[2] + bias);
      const V low13 = interleave_low(y[1] + bias, y[3] + bias), high13 = interleave_high(y[1] + bias, y[3] + bias);
      interleave_low(low02, low13).storeu(rows[r]);
      interleave_high(low02, low13).storeu(rows[r] + kLanes);
      interleave_low(high02, high13).storeu(rows[r] + 2 * kLanes);
      interleave_high(high02, high13).storeu(rows[r] + 3 * kLanes);
    }
    for_tile_rows(a, first_tile, kLanes, [&](int lane, int count, int row, int column) {
      const int y0 = row * kWinogradTile, x0 = column * kWinogradTile;
      const int height = std::min(kWinogradTile, a.height - y0), width = std::min(count * kWinogradTile, a.width - x0);
      for (int r = 0; r < height; ++r) {
        const float* residual = nullptr;
        if (a.residual != nullptr) residual = a.residual + oc * a.residual_plane + (y0 + r) * a.residual_pitch + x0;
        float* y = a.output + oc * a.output_plane + (y0 + r) * a.output_pitch + x0;
        finish_row(a, rows[r] + lane * kWinogradTile, residual, y, width, oc);
      }
    });
  }

  // Adds the residual, applies the activation and stores `width` pixels of output channel `oc`.
  static EDGELANE_INLINE void finish_row(const WinogradArgs& a, const float* sums, const float* residual, float* y, int width,
                                         int oc) {
    for (int at = 0; at < width; at += kLanes) {
      const int left = width - at;
      V sum = V::loadu(sums + at);
      if (residual != nullptr) sum = sum + V::load_first(residual + at, std::min(left, kLanes));
      if (a.slope != nullptr)
        sum = slope_lanes(sum, V::broadcast(a.slope[oc]));
      else
        sum = activate_lanes(sum, a.activation);
      if (left >= kLanes)
        sum.storeu(y + at);
      else
        sum.store_first(y + at, left);
    }
  }

  template <int... Count>
  static void multiply_by_size(const WinogradArgs& a, int first_tile, int vectors, int first, int last,
                               std::integer_sequence<int, Count...>) {
    static constexpr void (*kBySize[])(const WinogradArgs&, int, int, int) = {&multiply<Count + 1>...};
    kBySize[vectors - 1](a, first_tile, first, last);
  }
};

template <class V, int BlockOc, int MaxVectors>
constexpr WinogradKernel make_winograd(const char* name, Isa isa) {
  using W = Winograd<V, BlockOc>;
  return {name,
          isa,
          BlockOc,
          V::width,
          MaxVectors,
          &W::transform_input,
          [](const WinogradArgs& a, int first_tile, int vectors, int first, int last) {
            W::multiply_by_size(a, first_tile, vectors, first, last, std::make_integer_sequence<int, MaxVectors>());
          }};
}

}  // namespace
}  // namespace edgelane
