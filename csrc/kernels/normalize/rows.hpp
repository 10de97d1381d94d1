// The inner loops of normalisation, one set for each instruction set. Included by files with instruction-set flags: nothing
// inline here.
#pragma once

#include <cstdint>

namespace edgelane {

// Sums of so many elements stay in float32; longer ones are added in double.
constexpr int kNormalizePiece = 1024;

struct NormalizeParameters {
  const float *scale, *bias;  // nullptr: none
  float epsilon;
  bool mean_square;
};

// y = ((x - shift) * factor + offset) * scale + bias
struct NormalizeMap {
  float shift, factor, offset;
  const float *scale, *bias;  // nullptr: none
};

struct NormalizeRows {
  // `groups` groups of n elements side by side, at most kNormalizePiece, x_step and y_step elements apart.
  void (*groups)(const float* x, int64_t x_step, float* y, int64_t y_step, int64_t groups, int n, const NormalizeParameters& p);
  // For n elements, at most kNormalizePiece: their sum; of their differences from `shift`, the sum and the sum of squares.
  float (*sum)(const float* x, int n);
  void (*moments)(const float* x, int n, float shift, float* sum, float* squares);
  void (*map)(const float* x, float* y, int n, const NormalizeMap& m);
};

namespace scalar {
extern const NormalizeRows normalize_rows;
}
namespace avx2 {
extern const NormalizeRows normalize_rows;
}
namespace avx512 {
extern const NormalizeRows normalize_rows;
}
namespace neon {
extern const NormalizeRows normalize_rows;
}

}  // namespace edgelane
