// Products of two activations: y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n], the axes before the last two broadcast
// as numpy does.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// inputs: {a, b}, both float32 or both int32 (sums and products wrap around), of rank 2 or more, planar or plain. The workspace
// is for at most options.threads threads.
std::unique_ptr<PreparedKernel> prepare_matmul(const TensorDesc& a, const TensorDesc& b, const TensorDesc& y,
                                               const KernelOptions& options);

}  // namespace edgelane
