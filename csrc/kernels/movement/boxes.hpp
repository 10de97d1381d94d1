// Movement in which both sides step evenly along every axis, such as transposes, slices and concatenations of plain tensors: as
// boxes that are copied or transposed two axes at a time.
#pragma once

#include <memory>

#include "kernels/movement/gather.hpp"

namespace edgelane {

// nullptr where a gather is not of this kind: where some elements are filled or requantised, an int8 tensor is planar, or indices
// do not step evenly.
std::unique_ptr<PreparedKernel> prepare_boxes(const GatherProblem& problem, const KernelEntry& entry);

}  // namespace edgelane
