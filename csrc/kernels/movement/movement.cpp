#include "kernels/movement/movement.hpp"

#include <string>
#include <vector>

#include "kernels/function_kernel.hpp"
#include "kernels/movement/reference.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_concat(Span<const TensorDesc> inputs, const TensorDesc& output, int axis,
                                               const KernelOptions& options) {
  std::vector<TensorDesc> in(inputs.begin(), inputs.end());
  return make_kernel(select_kernel("movement", "concat_any", options), 0,
                     [=](const KernelArgs& a) { reference::concat(in, output, axis, a.inputs, a.output); });
}
std::unique_ptr<PreparedKernel> prepare_slice(const TensorDesc& input, const TensorDesc& output, Span<const int> starts,
                                              Span<const int> steps, const KernelOptions& options) {
  std::vector<int> s(starts.begin(), starts.end()), t(steps.begin(), steps.end());
  return make_kernel(select_kernel("movement", "slice_any", options), 0,
                     [=](const KernelArgs& a) { reference::slice(input, output, s, t, a.inputs[0], a.output); });
}
std::unique_ptr<PreparedKernel> prepare_transpose(const TensorDesc& input, const TensorDesc& output, Span<const int> perm,
                                                  const KernelOptions& options) {
  std::vector<int> s(perm.begin(), perm.end());
  return make_kernel(select_kernel("movement", "transpose_any", options), 0,
                     [=](const KernelArgs& a) { reference::transpose(input, output, s, a.inputs[0], a.output); });
}
std::unique_ptr<PreparedKernel> prepare_reshape(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options) {
  return make_kernel(select_kernel("movement", "reshape_any", options), 0,
                     [=](const KernelArgs& a) { reference::reshape(input, output, a.inputs[0], a.output); });
}
std::unique_ptr<PreparedKernel> prepare_channel_shuffle(const TensorDesc& input, const TensorDesc& output, int groups,
                                                        const KernelOptions& options) {
  return make_kernel(select_kernel("movement", "channel_shuffle_any", options), 0,
                     [=](const KernelArgs& a) { reference::channel_shuffle(input, output, groups, a.inputs[0], a.output); });
}
std::unique_ptr<PreparedKernel> prepare_pad(const TensorDesc& input, const TensorDesc& output, Span<const int> before,
                                            PadMode mode, float value, const KernelOptions& options) {
  std::vector<int> s(before.begin(), before.end());
  return make_kernel(select_kernel("movement", "pad_any", options), 0,
                     [=](const KernelArgs& a) { reference::pad(input, output, s, mode, value, a.inputs[0], a.output); });
}

}  // namespace edgelane
