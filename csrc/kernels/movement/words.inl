// Bodies of MoveWords over a vector type V (kernels/simd/vec_<isa>.hpp); included by words_<isa>.cpp. Words travel as floats,
// whose bits nothing here changes.
#include "kernels/movement/words.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

template <class V>
void copy_words(const uint32_t* from, int64_t from_step, uint32_t* to, int64_t to_step, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const auto* x = reinterpret_cast<const float*>(from + r * from_step);
    auto* y = reinterpret_cast<float*>(to + r * to_step);
    for_vectors<V>(columns, [&](int64_t i, int lanes) { store(load<V>(x + i, lanes), y + i, lanes); });
  }
}

// A square of as many rows as a vector has lanes. Each round takes turns between the rows of the first and of the second half;
// when every bit of a row's number has had its round, rows are columns.
template <class V>
EDGELANE_INLINE void transpose_square(V (&v)[V::width]) {
  constexpr int kHalf = V::width / 2;
#pragma GCC unroll 4
  for (int round = 1; round < V::width; round *= 2) {
    V next[V::width];
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
      next[2 * i] = interleave_low(v[i], v[i + kHalf]);
      next[2 * i + 1] = interleave_high(v[i], v[i + kHalf]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < V::width; ++i) v[i] = next[i];
  }
}

template <class V>
void transpose_words(const uint32_t* from, int64_t from_step, uint32_t* to, int64_t to_step, int64_t rows, int64_t columns) {
  constexpr int kWidth = V::width;
  for (int64_t c = 0; c < columns; c += kWidth) {
    const int wide = columns - c < kWidth ? static_cast<int>(columns - c) : kWidth;
    for (int64_t r = 0; r < rows; r += kWidth) {
      const int high = rows - r < kWidth ? static_cast<int>(rows - r) : kWidth;
      const auto* x = reinterpret_cast<const float*>(from + r * from_step + c);
      auto* y = reinterpret_cast<float*>(to + c * to_step + r);
      V v[kWidth];
      if (wide == kWidth && high == kWidth) {
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) v[i] = V::loadu(x + i * from_step);
        transpose_square(v);
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) v[i].storeu(y + i * to_step);
        continue;
      }
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) v[i] = i < high ? load<V>(x + i * from_step, wide) : V::zero();
      transpose_square(v);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        if (i < wide) store(v[i], y + i * to_step, high);
      }
    }
  }
}

template <class V>
constexpr MoveWords make_words() {
  return {copy_words<V>, transpose_words<V>};
}

}  // namespace
}  // namespace edgelane
