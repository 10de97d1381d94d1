// Tiles of a matrix product, Rows rows by Vectors vectors of columns, kept in registers: columns lie in the lanes, elements of a
// are broadcast. One step of k costs Vectors loads, Rows broadcasts and Rows * Vectors multiply-adds.
//
// A Path says what a lane is: F32Matmul or S32Matmul. Included by matmul_<isa>.cpp only; everything is in an anonymous namespace.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/matmul/matmul_kernel.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

template <class V>
struct F32Matmul {
  using Element = float;
  using Vec = V;
  using Input = V;
  static EDGELANE_INLINE Input broadcast(const float* p) { return V::broadcast(*p); }
  static EDGELANE_INLINE V multiply_add(V acc, Input a, V b) { return muladd(a, b, acc); }
};

template <class V>
struct S32Matmul {
  using Element = int32_t;
  using Vec = V;
  using Input = V;
  static EDGELANE_INLINE Input broadcast(const int32_t* p) { return V::broadcast(*p); }
  static EDGELANE_INLINE V multiply_add(V acc, Input a, V b) { return acc + a * b; }
};

template <class Path, int Rows, int Vectors>
void run_tile(const MatmulTile& t) {
  using V = typename Path::Vec;
  using T = typename Path::Element;
  constexpr int kSums = Rows * Vectors;
  constexpr int kSplit = kSums >= 8 ? 1 : kSums >= 4 ? 2 : 4;  // enough sums in flight for small tiles, too
  const T* a[Rows];
  for (int r = 0; r < Rows; ++r) a[r] = static_cast<const T*>(t.a[r]);
  const T* b = static_cast<const T*>(t.b);
  const int last = t.columns - (Vectors - 1) * V::width;  // columns of the last vector

  V acc[kSplit][Rows][Vectors];
#pragma GCC unroll 4
  for (int s = 0; s < kSplit; ++s)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[s][r][v] = V::zero();
  const auto step = [&](V(&sums)[Rows][Vectors], int64_t k, const T* row) __attribute__((always_inline)) {
    V columns[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) columns[v] = V::loadu(row + v * V::width);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const typename Path::Input in = Path::broadcast(a[r] + k);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) sums[r][v] = Path::multiply_add(sums[r][v], in, columns[v]);
    }
  };
  int64_t k = 0;
  for (; k + kSplit <= t.depth; k += kSplit) {
#pragma GCC unroll 4
    for (int s = 0; s < kSplit; ++s, b += t.b_step) step(acc[s], k + s, b);
  }
  for (; k < t.depth; ++k, b += t.b_step) step(acc[0], k, b);
#pragma GCC unroll 4
  for (int s = 1; s < kSplit; ++s)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[0][r][v] = acc[0][r][v] + acc[s][r][v];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    T* y = static_cast<T*>(t.y[r]);
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      T* to = y + v * V::width;
      V sum = acc[0][r][v];
      if (v + 1 < Vectors || last == V::width) {
        if (t.accumulate) sum = sum + V::loadu(to);
        sum.storeu(to);
      } else {
        if (t.accumulate) sum = sum + V::load_first(to, last);
        sum.store_first(to, last);
      }
    }
  }
}

template <class Path, int Rows, int Vectors, int... Count>
EDGELANE_INLINE void run_any(const MatmulTile& t, std::integer_sequence<int, Count...>) {
  static constexpr decltype(&run_tile<Path, 1, 1>) kBySize[] = {&run_tile<Path, Count / Vectors + 1, Count % Vectors + 1>...};
  kBySize[(t.rows - 1) * Vectors + (t.columns - 1) / Path::Vec::width](t);
}

template <class Path, int Rows, int Vectors>
void run_matmul(const MatmulTile& t) {
  static_assert(Rows <= kMaxMatmulRows);
  run_any<Path, Rows, Vectors>(t, std::make_integer_sequence<int, Rows * Vectors>());
}

template <class V>
void pack_columns(const void* from, int64_t from_step, int depth, int columns, void* to) {
  const auto* x = static_cast<const int32_t*>(from);
  auto* y = static_cast<int32_t*>(to);
  const int whole = columns / V::width, rest = columns % V::width;
  for (int k = 0; k < depth; ++k, x += from_step) {
    for (int v = 0; v < whole; ++v, y += V::width) V::loadu(x + v * V::width).storeu(y);
    if (rest == 0) continue;
    V::load_first(x + whole * V::width, rest).storeu(y);
    y += V::width;
  }
}

}  // namespace
}  // namespace edgelane
