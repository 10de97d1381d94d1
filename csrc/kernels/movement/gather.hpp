// Steps in which every output element is one input element, found axis by axis: concat, slice, transpose, pad, channel shuffle
// and nearest resize. A family fills in a GatherProblem and gets the kernel.
#pragma once

#include <memory>
#include <vector>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/registry.hpp"

namespace edgelane {

struct GatherProblem {
  std::vector<TensorDesc> inputs;  // int8 ones with another scale or zero point than the output are requantised
  TensorDesc output;
  int input_axis[kMaxRank] = {0, 1, 2, 3, 4, 5};  // output axis a runs along this axis of the inputs
  // For each output axis and index along it: the index along the input's axis; -1: `fill`.
  std::vector<int> index[kMaxRank];
  int source_axis = 0;      // the output axis whose index also chooses the input
  std::vector<int> source;  // for each index along source_axis: which input; empty: always input 0
  float fill = 0.0f;

  // Every index is its own source, for all axes. Throws Error(invalid_argument) where the tables would take more than
  // MemoryLimit::table_bytes().
  static GatherProblem identity(Span<const TensorDesc> inputs, const TensorDesc& output);
};

std::unique_ptr<PreparedKernel> prepare_gather(GatherProblem problem, const KernelEntry& entry);

}  // namespace edgelane
