// The inner loops of reductions, one set for each instruction set. Included by files with instruction-set flags: nothing inline
// here.
#pragma once

#include <cstdint>

namespace edgelane {

struct ReduceRows {
  // Sum, largest and smallest element of a run; the latter two NaN where an element is.
  float (*sum)(const float* x, int64_t n);
  float (*max)(const float* x, int64_t n);
  float (*min)(const float* x, int64_t n);
  // The same for y and x, element by element.
  void (*add)(const float* x, float* y, int64_t n);
  void (*max_into)(const float* x, float* y, int64_t n);
  void (*min_into)(const float* x, float* y, int64_t n);
  void (*divide)(float* y, int64_t n, float divisor);  // y /= divisor
  // Largest and smallest element of a run that begins with a number; NaN behind it is passed over.
  float (*largest)(const float* x, int64_t n);
  float (*smallest)(const float* x, int64_t n);
  // Where x is better than `best`, x becomes the best and `index` its place. [largest or smallest][of equal ones the first or
  // last]
  void (*choose[2][2])(const float* x, int64_t n, int32_t index, float* best, int32_t* at);
};

namespace scalar {
extern const ReduceRows reduce_rows;
}
namespace avx2 {
extern const ReduceRows reduce_rows;
}
namespace avx512 {
extern const ReduceRows reduce_rows;
}
namespace neon {
extern const ReduceRows reduce_rows;
}

}  // namespace edgelane
