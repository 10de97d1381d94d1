// The inner loops of resizing, one set for each instruction set. Included by files with instruction-set flags: nothing inline
// here.
#pragma once

#include <cstdint>

namespace edgelane {

struct ResizeRows {
  // y[i] = sum over k < count of weight[k] * x[k][i]
  void (*blend_rows)(const float* const* x, const float* weight, int count, float* y, int64_t n);
  // y[i] = sum over k < count of weight[k * n + i] * x[index[k * n + i]]
  void (*blend_columns)(const float* x, const int32_t* index, const float* weight, int count, float* y, int64_t n);
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
