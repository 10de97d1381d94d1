// Pruned weights as a list of nonzero blocks: what a .lane file stores and what every packing starts from.
#pragma once

#include <cstdint>
#include <vector>

#include "core/span.hpp"

namespace edgelane {

// Weights of one convolution or linear layer. A linear layer is taps == 1.
struct WeightShape {
  int oc = 0;    // output channels, all groups together
  int ic = 0;    // input channels of one group
  int taps = 1;  // kernel height * kernel width
  int64_t count() const { return static_cast<int64_t>(oc) * ic * taps; }
};

// Dense weights are [oc][ic][taps], row-major.
template <class T>
double density(Span<const T> dense);  // nonzero elements / elements

// The inverse of the file's block-sparse encoding (export/FORMAT.md). The caller has checked sizes and the number of ones.
template <class T>
std::vector<T> expand_blocks(const uint8_t* bitmask, const T* blocks, WeightShape shape, int block_oc, int block_ic);

}  // namespace edgelane
