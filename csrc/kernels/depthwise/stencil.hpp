// What float32 and int8 depthwise kernels share: how a vector of neighbouring output pixels finds its input, and the walk over a
// plane. Pixels lie in the lanes, so a tap is one load at its offset for stride 1; for stride 2 the even or odd lanes of two
// loads. Nothing is read past the last tap of the last pixel: a row's last vector overlaps the one before it, and maps that are
// narrower than a vector (Narrow) are read under a mask.
//
// Included by depthwise_*_<isa>.cpp only; everything is in an anonymous namespace.
#pragma once

#include <cstdint>

#include "kernels/depthwise/depthwise_kernel.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

// Output rows that a fast kernel computes at once: their input rows are loaded (and int8 ones spread) once for all of them.
constexpr int rows_at_once(int stride, int of_stride_1) { return stride == 1 ? of_stride_1 : 2; }

// The first n elements from p on, at most a vector; n is a vector's width unless Partial.
template <class L, bool Partial, class T>
EDGELANE_INLINE L load_run(const T* p, int n) {
  if constexpr (Partial)
    return L::load_first(p, n < 0 ? 0 : n < L::width ? n : L::width);
  else
    return L::loadu(p);
}

// One tap of n output pixels; x is the first one's.
template <class L, int Stride, bool Narrow, class T>
EDGELANE_INLINE L load_tap(const T* x, int n) {
  if constexpr (Stride == 1) return load_run<L, Narrow>(x, n);
  return even_lanes(load_run<L, Narrow>(x, 2 * n - 1), load_run<L, true>(x + L::width, 2 * n - 1 - L::width));
}

// All K taps of a row; for stride 2 they are neighbours.
template <class L, int K, int Stride, bool Narrow, class T, int Count>
EDGELANE_INLINE void load_taps(const T* x, int tap, int n, L (&in)[Count]) {
  static_assert(Count >= K && K >= 2);
  if constexpr (Stride == 1) {
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) in[k] = in_register(load_run<L, Narrow>(x + k * tap, n));
  } else {
#pragma GCC unroll 8
    for (int k = 0; k + 1 < K; k += 2) {
      const L a = load_run<L, Narrow>(x + k, 2 * n), b = load_run<L, Narrow>(x + k + L::width, 2 * n - L::width);
      in[k] = even_lanes(a, b);
      in[k + 1] = odd_lanes(a, b);
    }
    if constexpr (K % 2 !=
                  0) {  // from one element earlier, which is the tap before: else the last lane's neighbour would be read
      const T* last = x + K - 2;
      in[K - 1] = odd_lanes(load_run<L, Narrow>(last, 2 * n), load_run<L, Narrow>(last + L::width, 2 * n - L::width));
    }
  }
}

// Calls f(first row) for groups of Rows rows, `step` apart, that cover all rows; the last one overlaps the one before it. Every
// residue of `step` has at least Rows rows.
template <int Rows, class F>
EDGELANE_INLINE void for_row_groups(int rows, int step, const F& f) {
  for (int phase = 0; phase < step; ++phase) {
    const int count = (rows - phase + step - 1) / step;
    for (int k = 0; k < count; k += Rows) f(phase + (k < count - Rows ? k : count - Rows) * step);
  }
}

// Calls f(first pixel, pixels) for vectors that cover a row; the last one overlaps the one before it.
template <int Width, bool Narrow, class F>
EDGELANE_INLINE void for_columns(int width, const F& f) {
  if constexpr (Narrow) {
    f(0, width);
  } else {
    for (int x = 0; x < width; x += Width) f(x < width - Width ? x : width - Width, Width);
  }
}

// The kernel made of Family::fast<K, Stride, Narrow> and Family::any<Stride, Narrow>. Without Family::kFast it has the latter
// alone: the former's unrolled code is for instruction sets with registers for it.
template <class Family>
constexpr DepthwiseKernel make_kernel(const char* name, Isa isa) {
  using F = Family;
  DepthwiseKernel kernel = {};
  kernel.name = name;
  kernel.isa = isa;
  kernel.lanes = F::kLanes;
  kernel.input_bias = F::kInputBias;
  kernel.any[0][0] = F::template any<1, false>;
  kernel.any[0][1] = F::template any<1, true>;
  kernel.any[1][0] = F::template any<2, false>;
  kernel.any[1][1] = F::template any<2, true>;
  if constexpr (F::kFast) {
    kernel.fast_rows[0] = rows_at_once(1, F::kRows);
    kernel.fast_rows[1] = rows_at_once(2, F::kRows);
    kernel.fast[0][0][0] = F::template fast<3, 1, false>;
    kernel.fast[0][0][1] = F::template fast<3, 1, true>;
    kernel.fast[0][1][0] = F::template fast<3, 2, false>;
    kernel.fast[0][1][1] = F::template fast<3, 2, true>;
    kernel.fast[1][0][0] = F::template fast<5, 1, false>;
    kernel.fast[1][0][1] = F::template fast<5, 1, true>;
    kernel.fast[1][1][0] = F::template fast<5, 2, false>;
    kernel.fast[1][1][1] = F::template fast<5, 2, true>;
    kernel.fast[2][0][0] = F::template fast<7, 1, false>;
    kernel.fast[2][0][1] = F::template fast<7, 1, true>;
    kernel.fast[2][1][0] = F::template fast<7, 2, false>;
    kernel.fast[2][1][1] = F::template fast<7, 2, true>;
  }
  return kernel;
}

}  // namespace
}  // namespace edgelane
