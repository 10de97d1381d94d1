// Between dtypes, and between two int8 scales; planar or plain, equal shapes.
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
// Any dtype to any dtype, each element as the number that it is; int8 as its integers, whatever the scale.
std::unique_ptr<PreparedKernel> prepare_cast(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options);
// uint8 to int8 as x - 128, or int8 to uint8 as x + 128.
std::unique_ptr<PreparedKernel> prepare_recode(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options);

}  // namespace edgelane
