// Walks over planes as runs of elements that lie side by side. Not for files with instruction-set flags.
#pragma once

#include <cstdint>

#include "kernels/border.hpp"
#include "kernels/kernel.hpp"
#include "kernels/split.hpp"

namespace edgelane {

// Calls f(index in a plane of a, index in a plane of b, elements): once for all of the rows where both have the same pitch (the
// gaps between rows are then written too, and filled afterwards with the border), else once for each row.
template <class F>
void for_rows(const PlanarLayout& a, const PlanarLayout& b, RowRange rows, const F& f) {
  if (a.pitch == b.pitch) {
    return f(a.index(rows.first, 0), b.index(rows.first, 0), static_cast<int64_t>(rows.last - rows.first) * b.pitch);
  }
  for (int y = rows.first; y < rows.last; ++y) f(a.index(y, 0), b.index(y, 0), static_cast<int64_t>(b.width));
}

template <class F>
void for_rows(const PlanarLayout& a, const PlanarLayout& b, const F& f) {
  for_rows(a, b, {0, b.height}, f);
}

// f(x, y, n) over every run of elements of a plain or planar pair of equal shapes and dtypes, whose stored elements are T; in
// parallel. Borders are restored.
template <class T, class F>
void for_same_shape(const KernelArgs& args, const TensorDesc& input, const TensorDesc& output, const F& f) noexcept {
  const T* x = static_cast<const T*>(args.inputs[0]);
  T* y = static_cast<T*>(args.output);
  if (input.straight() && output.straight()) {
    constexpr int64_t kBlock = 1024;
    const int64_t n = output.elements();
    parallel_ranges(*args.pool, (n + kBlock - 1) / kBlock, kBlock, [&](int64_t begin, int64_t end) {
      f(x + begin * kBlock, y + begin * kBlock, std::min(end * kBlock, n) - begin * kBlock);
    });
    return;
  }
  constexpr int kWidth = 4 / sizeof(T);  // elements of T in a plane element
  const int groups = output.layout.groups(output.int8());
  parallel_ranges(*args.pool, static_cast<int64_t>(output.layout.batch) * groups, output.layout.plane,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) {
                      const T* from = x + i * input.layout.plane * kWidth;
                      T* to = y + i * output.layout.plane * kWidth;
                      for_rows(input.layout, output.layout,
                               [&](int64_t a, int64_t b, int64_t n) { f(from + a * kWidth, to + b * kWidth, n * kWidth); });
                      if (output.int8() && i % groups == groups - 1) fill_channel_padding(to, output.layout, border_word(output));
                      fill_border(to, output.layout, border_word(output));
                    }
                  });
}

}  // namespace edgelane
