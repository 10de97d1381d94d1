// Softmax and log-softmax along one axis, float32, planar or plain.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// inputs: {x}
std::unique_ptr<PreparedKernel> prepare_softmax(const TensorDesc& input, const TensorDesc& output, int axis, bool log,
                                                const KernelOptions& options);

}  // namespace edgelane
