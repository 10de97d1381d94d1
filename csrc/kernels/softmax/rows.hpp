// The inner loops of softmax, one set for each instruction set. Included by files with instruction-set flags: nothing inline
// here.
#pragma once

#include <cstdint>

namespace edgelane {

struct SoftmaxRows {
  // `rows` softmaxes, each over n elements side by side, which begin x_step and y_step elements apart.
  void (*rows)(const float* x, int64_t x_step, float* y, int64_t y_step, int64_t rows, int64_t n, bool log);
  // n softmaxes side by side, each over `count` elements that lie x_step and y_step elements apart.
  void (*columns)(const float* x, int64_t x_step, float* y, int64_t y_step, int count, int64_t n, bool log);
};

namespace scalar {
extern const SoftmaxRows softmax_rows;
}
namespace avx2 {
extern const SoftmaxRows softmax_rows;
}
namespace avx512 {
extern const SoftmaxRows softmax_rows;
}
namespace neon {
extern const SoftmaxRows softmax_rows;
}

}  // namespace edgelane
