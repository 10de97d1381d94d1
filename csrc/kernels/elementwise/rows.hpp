// The inner loops of the element-wise steps, one set for each instruction set: runs of elements that lie side by side.
// Included by files with instruction-set flags: nothing inline here.
#pragma once

#include <cstdint>

#include "formats/activation.hpp"
#include "kernels/elementwise/binary_function.hpp"

namespace edgelane {

// One side of a binary operation: n elements, or one (int8: one quad) that serves for all.
struct FloatOperand {
  const float* data;
  bool repeated;
};
struct QuadOperand {
  const uint8_t* data;
  bool repeated;  // the four bytes at `data` for every quad of the run
  float scale;
  int32_t zero_point;
};

struct ElementwiseRows {
  void (*unary)(const float* x, float* y, int64_t n, const Activation& activation);
  // scale, shift and slope: one value, or one for each element. affine's slope, if not nullptr, takes the activation's place.
  void (*affine)(const float* x, const float* scale, const float* shift, const float* slope, bool per_element, float* y,
                 int64_t n, const Activation& activation);
  void (*prelu)(const float* x, const float* slope, bool per_element, float* y, int64_t n);
  void (*binary)(BinaryFunction function, FloatOperand a, FloatOperand b, float* y, int64_t n, const Activation& activation);
  // y: 1 where it holds, else 0. equal, less, less_or_equal
  void (*compare)(BinaryFunction function, FloatOperand a, FloatOperand b, uint8_t* y, int64_t n);
  // n bytes; add or mul
  void (*binary_s8)(BinaryFunction function, const QuadOperand& a, const QuadOperand& b, float scale, int32_t zero_point,
                    uint8_t* y, int64_t n, const Activation& activation);
};

namespace scalar {
extern const ElementwiseRows elementwise_rows;
}
namespace avx2 {
extern const ElementwiseRows elementwise_rows;
}
namespace avx512 {
extern const ElementwiseRows elementwise_rows;
}
namespace neon {
extern const ElementwiseRows elementwise_rows;
}

}  // namespace edgelane
