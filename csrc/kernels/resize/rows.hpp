// The inner loops of resizing, one set for each instruction set. Included by files with instruction-set flags: nothing inline
// here.
#pragma once

#include <cstdint>

namespace edgelane {

// What the columns of a resized row are made of, by vectors of outputs.
struct ResizeColumns {
  const int32_t* first;  // [vectors]: the first input of a vector
  const int32_t* index;  // [taps][vectors][lanes], from `first` on
  const float* weight;   // [taps][vectors][lanes]
  int64_t vectors;
  bool near;  // every index is below 2 * lanes
};

// taps: 2 or 4.
struct ResizeRows {
  int lanes;
  // y[i] = sum over k < taps of weight[k] * x[k][i]
  void (*blend_rows)(const float* const* x, const float* weight, int taps, float* y, int64_t n);
  // y[i] = sum over k < taps of weight[k][i] * x[first + index[k][i]], for whole vectors; x has n elements.
  void (*blend_columns)(const ResizeColumns& columns, int taps, const float* x, int64_t n, float* y);
};

namespace scalar {
extern const ResizeRows resize_rows;
}
namespace avx2 {
extern const ResizeRows resize_rows;
}
namespace avx512 {
extern const ResizeRows resize_rows;
}
namespace neon {
extern const ResizeRows resize_rows;
}

}  // namespace edgelane
