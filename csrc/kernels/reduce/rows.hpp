// The inner loops of reductions, one set for each instruction set. Included by files with instruction-set flags: nothing inline
// here.
#pragma once

#include <cstdint>

namespace edgelane {

struct ReduceRows {
  float (*sum)(const float* x, int64_t n);
  void (*add)(const float* x, float* y, int64_t n);    // y += x
  void (*divide)(float* y, int64_t n, float divisor);  // y /= divisor
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
