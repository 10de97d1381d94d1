// The interleaving of transposed convolution, one for each instruction set. Included by files with instruction-set flags: nothing
// inline here.
#pragma once

namespace edgelane {

// y[2 i] = even[i] and y[2 i + 1] = odd[i], n elements of y.
using InterleaveRows = void (*)(const float* even, const float* odd, float* y, int n);

namespace scalar {
void interleave_rows(const float* even, const float* odd, float* y, int n);
}
namespace avx2 {
void interleave_rows(const float* even, const float* odd, float* y, int n);
}
namespace avx512 {
void interleave_rows(const float* even, const float* odd, float* y, int n);
}
namespace neon {
void interleave_rows(const float* even, const float* odd, float* y, int n);
}

}  // namespace edgelane
