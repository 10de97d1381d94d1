// The inner loop of transposed convolution, one for each instruction set. Included by files with instruction-set flags: nothing
// inline here.
#pragma once

#include <cstdint>

#include "formats/activation.hpp"

namespace edgelane {

constexpr int kTransposeOc = 4;          // output channels of a tile, whose weights lie side by side
constexpr int kTransposeSlack = 2 * 16;  // floats behind the last input row that a tile may read and not use

// One tap of one column phase: which input pixel meets output pixel 0 of the phase, and the tap's weights.
struct TransposeTap {
  int64_t pixel;   // offset in an input plane
  int64_t weight;  // offset of [ic][kTransposeOc] weights
};

struct TransposeRows {
  // y[o][j] = bias[o] + sum over taps and ic of w[tap][ic][o] * x[ic * x_step + tap.pixel + j], for j < n; y rows y_step apart
  void (*accumulate)(const float* x, int64_t x_step, int ic, const float* weights, const TransposeTap* taps, int tap_count,
                     const float* bias, float* y, int64_t y_step, int n);
  void (*activate)(float* y, int64_t n, const Activation& activation);
};

namespace scalar {
extern const TransposeRows transpose_rows;
}
namespace avx2 {
extern const TransposeRows transpose_rows;
}
namespace avx512 {
extern const TransposeRows transpose_rows;
}
namespace neon {
extern const TransposeRows transpose_rows;
}

}  // namespace edgelane
