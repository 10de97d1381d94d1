// Dense linear layers: y[m][oc] = sum over k of x[m][k] * w[oc][k].
//
// Output channels lie in the lanes, inputs are broadcast. A tile is Rows rows by Vectors vectors of channels, kept in registers;
// one step of k (a float, or a quad of int8) costs Vectors loads, Rows broadcasts and Rows * Vectors multiply-adds. Weights are
// packed in the order of their use, so that a single row streams them at the speed of memory. Where an instruction multiplies
// matrices, GemmTile has a specialisation for its Path (linear_s8_neon_i8mm.cpp).
//
// A Path says what a lane is: F32Linear (below), or the int8 dot products of linear_s8_<isa>.cpp. Included by linear_*_<isa>.cpp
// only; everything is in an anonymous namespace or depends on a type that is.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/conv2d/requantize_lanes.hpp"
#include "kernels/linear/linear_kernel.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

template <class V>
struct F32Linear {
  using Float = V;
  using Acc = V;
  using Input = V;
  using Weight = V;
  static constexpr bool kInt8 = false;
  static constexpr int kInputBias = 0, kStepBytes = 4;
  static EDGELANE_INLINE Input broadcast(const uint8_t* p) { return V::broadcast(*reinterpret_cast<const float*>(p)); }
  static EDGELANE_INLINE Weight load(const uint8_t* p) { return V::load(reinterpret_cast<const float*>(p)); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return muladd(x, w, acc); }
};

// Stores one row's channels oc to oc + kLanes - 1, as far as they exist.
template <class Path>
EDGELANE_INLINE void finish_row(const LinearArgs& a, typename Path::Acc acc, int row, int oc) {
  using V = typename Path::Float;
  using I = typename V::Int;
  const int channels = a.oc - oc;
  if (channels <= 0) return;
  const int64_t index = static_cast<int64_t>(row) * a.oc + oc;
  if constexpr (!Path::kInt8) {
    const V y = acc + V::load(a.bias + oc);
    (a.activation.clamp ? clamp_lanes(y, a.activation.lo, a.activation.hi) : y)
        .store_first(static_cast<float*>(a.y) + index, channels);
  } else {
    const I sum = acc + I::load(a.bias_s32 + oc);
    const V multiplier = V::load(a.multiplier + oc);
    const V y = a.activation.clamp ? requantize_lanes<false>(sum, multiplier, V::zero(), I::zero(), a.requantize)
                                   : requantize_lanes<true>(sum, multiplier, V::zero(), I::zero(), a.requantize);
    if (a.requantize.float_output)
      y.store_first(static_cast<float*>(a.y) + index, channels);
    else
      (y.to_int() + I::broadcast(a.requantize.output_zero)).store_u8_first(static_cast<uint8_t*>(a.y) + index, channels);
  }
}

template <class Path, int Rows, int Vectors>
struct GemmTile {
  using Acc = typename Path::Acc;
  static constexpr int kLanes = Path::Float::width;
  static constexpr int kWeightBytes = Vectors * kLanes * 4;                                                    // of one step
  static constexpr int kSums = Rows * Vectors * static_cast<int>(sizeof(Acc) / sizeof(typename Path::Float));  // registers
  static constexpr int kSplit = kSums >= 8 ? 1 : kSums >= 4 ? 2 : 4;  // enough sums in flight for one row, too

  static EDGELANE_INLINE void step(Acc (&acc)[Rows][Vectors], const uint8_t* x, int64_t row_bytes, const uint8_t* w) {
    typename Path::Weight weights[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) weights[v] = Path::load(w + v * kLanes * 4);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const typename Path::Input in = Path::broadcast(x + r * row_bytes);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[r][v] = Path::multiply_add(acc[r][v], in, weights[v]);
    }
  }

  static void run(const LinearArgs& a, int tile, int row) {
    const uint8_t* x = a.x + row * a.x_row_bytes;
    const uint8_t* w = a.weights + static_cast<int64_t>(tile) * a.depth * kWeightBytes;
    Acc acc[kSplit][Rows][Vectors];
#pragma GCC unroll 4
    for (int s = 0; s < kSplit; ++s)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) acc[s][r][v] = Acc::zero();
    int k = 0;
    for (; k + kSplit <= a.depth; k += kSplit, x += 4 * kSplit, w += kWeightBytes * kSplit) {
#pragma GCC unroll 4
      for (int s = 0; s < kSplit; ++s) step(acc[s], x + 4 * s, a.x_row_bytes, w + kWeightBytes * s);
    }
    for (; k < a.depth; ++k, x += 4, w += kWeightBytes) step(acc[0], x, a.x_row_bytes, w);
#pragma GCC unroll 4
    for (int s = 1; s < kSplit; ++s)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) acc[0][r][v] = acc[0][r][v] + acc[s][r][v];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) finish_row<Path>(a, acc[0][r][v], row + r, (tile * Vectors + v) * kLanes);
  }
};

template <class Path, int Vectors, int... Count>
EDGELANE_INLINE void run_rows(const LinearArgs& a, int tile, int row, int rows, std::integer_sequence<int, Count...>) {
  using Function = void (*)(const LinearArgs&, int, int);
  static constexpr Function kByRows[] = {&GemmTile<Path, Count + 1, Vectors>::run...};
  kByRows[rows - 1](a, tile, row);
}

// Activations that are no clamp come when the rows of a tile are stored: a call from inside of a tile would have to put all of
// its registers away, for each vector.
template <class V>
__attribute__((noinline)) void activate_rows(float* y, int64_t y_step, int rows, int n, const Activation& activation) {
  const Activation a = activation;
  for (int r = 0; r < rows; ++r, y += y_step) {
    for_vectors<V>(n, [&](int64_t i, int lanes) { store(apply_activation(load<V>(y + i, lanes), a), y + i, lanes); });
  }
}

template <class Path, int Rows, int Vectors>
void run_gemm(const LinearArgs& a, int tile, int first_row, int last_row) {
  for (int row = first_row; row < last_row; row += Rows) {
    const int rows = last_row - row < Rows ? last_row - row : Rows;
    run_rows<Path, Vectors>(a, tile, row, rows, std::make_integer_sequence<int, Rows>());
  }
  if constexpr (!Path::kInt8) {
    if (a.activation.clamp) return;
    constexpr int kChannels = Vectors * Path::Float::width;
    const int oc = tile * kChannels;
    activate_rows<typename Path::Float>(static_cast<float*>(a.y) + static_cast<int64_t>(first_row) * a.oc + oc, a.oc,
                                        last_row - first_row, a.oc - oc < kChannels ? a.oc - oc : kChannels, a.activation.any);
  }
}

}  // namespace
}  // namespace edgelane
