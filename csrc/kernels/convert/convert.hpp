// Between float32 and int8, and between two int8 scales; planar or plain, equal shapes.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// inputs: {x}
std::unique_ptr<PreparedKernel> prepare_quantize(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options);
std::unique_ptr<PreparedKernel> prepare_dequantize(const TensorDesc& input, const TensorDesc& output,
                                                   const KernelOptions& options);
std::unique_ptr<PreparedKernel> prepare_requantize(const TensorDesc& input, const TensorDesc& output,
                                                   const KernelOptions& options);

}  // namespace edgelane
