// The interleaving of transposed convolution, one for each instruction set. Included by files with instruction-set flags: nothing
// inline here.
#pragma once

namespace edgelane {

struct InterleaveRows {
  // y[2 i] = even[i] and y[2 i + 1] = odd[i], n elements of y.
  void (*two)(const float* even, const float* odd, float* y, int n);
};

namespace scalar {
extern const InterleaveRows interleave_rows;
}
namespace avx2 {
extern const InterleaveRows interleave_rows;
}
namespace avx512 {
extern const InterleaveRows interleave_rows;
}
namespace neon {
extern const InterleaveRows interleave_rows;
}

}  // namespace edgelane
