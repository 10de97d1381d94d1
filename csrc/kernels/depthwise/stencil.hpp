// What float32 and int8 depthwise kernels share: how a vector of neighbouring output pixels finds its input, and the walk over a
// plane. Pixels lie in the lanes, so a tap is one load at its offset for stride 1; for stride 2 the even or odd lanes of two
// loads. Nothing is read past the last tap of the last pixel, but by kernels of whole planes: a row's last vector overlaps the
// one before it, and maps that are narrower than a vector (Narrow) are read under a mask.
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

// Which lanes the vectors of a row have. A map at least as wide as a vector has all of them: its rows end with a vector that
// overlaps the one before. A narrow one is computed under masks, made once.
template <class L, bool Narrow>
struct Columns {
  int pixels;                        // of a vector
  uint32_t lanes;                    // of results, and of a tap with stride 1
  uint32_t low, high;                // of two neighbouring vectors, the elements of two taps with stride 2
  uint32_t single_low, single_high;  // and of one tap

  EDGELANE_INLINE explicit Columns(int width)
      : pixels(Narrow ? width : L::width),
        lanes(first(pixels)),
        low(first(2 * pixels)),
        high(first(2 * pixels - L::width)),
        single_low(first(2 * pixels - 1)),
        single_high(first(2 * pixels - 1 - L::width)) {}

  template <class T>
  static EDGELANE_INLINE L load(const T* p, uint32_t bits) {
    if constexpr (Narrow)
      return L::load_mask(p, bits);
    else
      return L::loadu(p);
  }
  template <class T>
  EDGELANE_INLINE void store(L v, T* p) const {
    if constexpr (Narrow)
      v.store_mask(p, lanes);
    else
      v.storeu(p);
  }

  // One tap; x is the first pixel's.
  template <int Stride, class T>
  EDGELANE_INLINE L tap(const T* x) const {
    if constexpr (Stride == 1) return load(x, lanes);
    return even_lanes(load(x, single_low), L::load_mask(x + L::width, single_high));
  }

  // All K taps of a row; for stride 2 they are neighbours.
  template <int K, int Stride, class T, int Count>
  EDGELANE_INLINE void taps(const T* x, int tap, L (&in)[Count]) const {
    static_assert(Count >= K && K >= 2);
    if constexpr (Stride == 1) {
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) in[k] = in_register(load(x + k * tap, lanes));
    } else {
#pragma GCC unroll 8
      for (int k = 0; k + 1 < K; k += 2) {
        const L a = in_register(load(x + k, low)), b = in_register(load(x + k + L::width, high));
        in[k] = even_lanes(a, b);
        in[k + 1] = odd_lanes(a, b);
      }
      if constexpr (K % 2 != 0) {  // from the tap before on: else the last lane's neighbour would be read
        const T* last = x + K - 2;
        in[K - 1] = odd_lanes(load(last, low), load(last + L::width, high));
      }
    }
  }

 private:
  static EDGELANE_INLINE uint32_t first(int n) { return n <= 0 ? 0 : n >= L::width ? (1u << L::width) - 1 : (1u << n) - 1; }
};

// Calls f(first row) for groups of Rows rows, `step` apart, that cover all rows; the last one overlaps the one before it. Every
// residue of `step` has at least Rows rows.
template <int Rows, class F>
EDGELANE_INLINE void for_row_groups(int rows, int step, const F& f) {
  for (int phase = 0; phase < step; ++phase) {
    const int count = step == 1 ? rows : (rows - phase + step - 1) / step;  // a division takes as long as a small map
    for (int k = 0; k < count; k += Rows) f(phase + (k < count - Rows ? k : count - Rows) * step);
  }
}

// Calls f(first pixel) for vectors that cover a row; the last one overlaps the one before it.
template <int Width, bool Narrow, class F>
EDGELANE_INLINE void for_columns(int width, const F& f) {
  if constexpr (Narrow) {
    f(0);
  } else {
    for (int x = 0; x < width; x += Width) f(x < width - Width ? x : width - Width);
  }
}

// The kernel made of Family::fast<K, Stride, Narrow>, Family::any<Stride, Narrow> and, if Family::kWhole, of
// Family::whole<K, Stride, Single>. Without Family::kFast it has `any` alone: the others' unrolled code is for instruction sets
// with registers for it.
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
    if constexpr (F::kWhole) {
      kernel.whole[0][0][0] = F::template whole<3, 1, false>;
      kernel.whole[0][0][1] = F::template whole<3, 1, true>;
      kernel.whole[0][1][0] = F::template whole<3, 2, false>;
      kernel.whole[0][1][1] = F::template whole<3, 2, true>;
      kernel.whole[1][0][0] = F::template whole<5, 1, false>;
      kernel.whole[1][0][1] = F::template whole<5, 1, true>;
      kernel.whole[1][1][0] = F::template whole<5, 2, false>;
      kernel.whole[1][1][1] = F::template whole<5, 2, true>;
      kernel.whole[2][0][0] = F::template whole<7, 1, false>;
      kernel.whole[2][0][1] = F::template whole<7, 1, true>;
      kernel.whole[2][1][0] = F::template whole<7, 2, false>;
      kernel.whole[2][1][1] = F::template whole<7, 2, true>;
    }
  }
  return kernel;
}

}  // namespace
}  // namespace edgelane
