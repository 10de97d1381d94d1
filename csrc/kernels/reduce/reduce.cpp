#include "kernels/reduce/reduce.hpp"

#include <string>
#include <vector>

#include "kernels/function_kernel.hpp"
#include "kernels/reduce/reference.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_reduce_mean(const TensorDesc& input, const TensorDesc& output, Span<const int> axes,
                                                    const KernelOptions& options) {
  std::vector<int> v(axes.begin(), axes.end());
  return make_kernel(select_kernel("reduce", "reduce_mean_f32", options), 0, [=](const KernelArgs& a) {
    reference::reduce_mean(input, output, v, static_cast<const float*>(a.inputs[0]), static_cast<float*>(a.output));
  });
}

}  // namespace edgelane
