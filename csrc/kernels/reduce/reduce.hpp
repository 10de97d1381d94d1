// Reductions over axes that are kept with size 1, and selections along one axis: float32, planar or plain, int32 and int64.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"
#include "kernels/reduce/reduction.hpp"

namespace edgelane {

// inputs: {x}; y has x's dtype; axes ascending. max and min of float32 are NaN where an element is.
std::unique_ptr<PreparedKernel> prepare_reduce(const TensorDesc& input, const TensorDesc& output, Span<const int> axes,
                                               Reduction reduction, const KernelOptions& options);

// inputs: {x}; y int64: the place of the largest or smallest element along `axis`, of equal ones the first or the last. NaN is
// passed over, but for one at the beginning, whose place is then the result: what comparisons in order give.
std::unique_ptr<PreparedKernel> prepare_arg_reduce(const TensorDesc& input, const TensorDesc& output, int axis, bool largest,
                                                   bool select_last, const KernelOptions& options);

// inputs: {x}; y int64: places of the first elements along `axis` in falling (largest) or rising order, of equal ones in rising
// order, as many as y has along the axis. NaN is larger than every number.
std::unique_ptr<PreparedKernel> prepare_top_k(const TensorDesc& input, const TensorDesc& output, int axis, bool largest,
                                              const KernelOptions& options);

}  // namespace edgelane
