// Mean over axes that are kept with size 1, float32, planar or plain.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// inputs: {x}; axes ascending.
std::unique_ptr<PreparedKernel> prepare_reduce_mean(const TensorDesc& input, const TensorDesc& output, Span<const int> axes,
                                                    const KernelOptions& options);

}  // namespace edgelane
