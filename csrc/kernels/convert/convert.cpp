#include "kernels/convert/convert.hpp"

#include <string>
#include <vector>

#include "kernels/convert/reference.hpp"
#include "kernels/function_kernel.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_quantize(const TensorDesc& input, const TensorDesc& output,
                                                 const KernelOptions& options) {
  return make_kernel(select_kernel("convert", "quantize_f32", options), 0,
                     [=](const KernelArgs& a) { reference::convert(input, output, a.inputs[0], a.output); });
}

std::unique_ptr<PreparedKernel> prepare_dequantize(const TensorDesc& input, const TensorDesc& output,
                                                   const KernelOptions& options) {
  return make_kernel(select_kernel("convert", "dequantize_s8", options), 0,
                     [=](const KernelArgs& a) { reference::convert(input, output, a.inputs[0], a.output); });
}

std::unique_ptr<PreparedKernel> prepare_requantize(const TensorDesc& input, const TensorDesc& output,
                                                   const KernelOptions& options) {
  return make_kernel(select_kernel("convert", "requantize_s8", options), 0,
                     [=](const KernelArgs& a) { reference::convert(input, output, a.inputs[0], a.output); });
}

}  // namespace edgelane
