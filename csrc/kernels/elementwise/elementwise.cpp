#include "kernels/elementwise/elementwise.hpp"

#include <string>
#include <vector>

#include "kernels/elementwise/reference.hpp"
#include "kernels/function_kernel.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_unary(const UnaryProblem& problem, const KernelOptions& options) {
  const KernelEntry& entry = select_kernel("elementwise", problem.input.int8() ? "unary_s8" : "unary_f32", options);
  return make_kernel(entry, 0, [problem](const KernelArgs& a) { reference::unary(problem, a.inputs[0], a.output); });
}
std::unique_ptr<PreparedKernel> prepare_affine(const AffineProblem& problem, Span<const float> scale, Span<const float> shift,
                                               const KernelOptions& options) {
  std::vector<float> s(scale.begin(), scale.end()), t(shift.begin(), shift.end());
  return make_kernel(select_kernel("elementwise", "affine_f32", options), 0, [problem, s, t](const KernelArgs& a) {
    reference::affine(problem, s, t, static_cast<const float*>(a.inputs[0]), static_cast<float*>(a.output));
  });
}
std::unique_ptr<PreparedKernel> prepare_prelu(const TensorDesc& input, const TensorDesc& output, Span<const float> slope,
                                              const KernelOptions& options) {
  std::vector<float> s(slope.begin(), slope.end());
  return make_kernel(select_kernel("elementwise", "prelu_f32", options), 0, [input, output, s](const KernelArgs& a) {
    reference::prelu(input, output, s, static_cast<const float*>(a.inputs[0]), static_cast<float*>(a.output));
  });
}
std::unique_ptr<PreparedKernel> prepare_binary(const BinaryProblem& problem, const KernelOptions& options) {
  const KernelEntry& entry = select_kernel("elementwise", problem.output.int8() ? "binary_s8" : "binary_f32", options);
  return make_kernel(entry, 0,
                     [problem](const KernelArgs& a) { reference::binary(problem, a.inputs[0], a.inputs[1], a.output); });
}

}  // namespace edgelane
