#include "kernels/softmax/softmax.hpp"

#include <string>
#include <vector>

#include "kernels/function_kernel.hpp"
#include "kernels/softmax/reference.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_softmax(const TensorDesc& input, const TensorDesc& output, int axis, bool log,
                                                const KernelOptions& options) {
  return make_kernel(select_kernel("softmax", log ? "log_softmax_f32" : "softmax_f32", options), 0, [=](const KernelArgs& a) {
    reference::softmax(input, output, axis, log, static_cast<const float*>(a.inputs[0]), static_cast<float*>(a.output));
  });
}

}  // namespace edgelane
