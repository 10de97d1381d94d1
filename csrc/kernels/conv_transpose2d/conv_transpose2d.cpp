#include "kernels/conv_transpose2d/conv_transpose2d.hpp"

#include <string>
#include <vector>

#include "kernels/conv_transpose2d/reference.hpp"
#include "kernels/function_kernel.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_conv_transpose2d_f32(const ConvTranspose2dProblem& problem, Span<const float> weights,
                                                             Span<const float> bias, const KernelOptions& options) {
  std::vector<float> w(weights.begin(), weights.end()), b(bias.begin(), bias.end());
  return make_kernel(select_kernel("conv_transpose2d", "conv_transpose2d_f32", options), 0, [=](const KernelArgs& a) {
    reference::conv_transpose2d(problem, w, b, static_cast<const float*>(a.inputs[0]), static_cast<float*>(a.output));
  });
}

}  // namespace edgelane
