#include "kernels/resize/resize.hpp"

#include <string>
#include <vector>

#include "kernels/function_kernel.hpp"
#include "kernels/resize/reference.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_resize(const ResizeProblem& problem, const KernelOptions& options) {
  return make_kernel(select_kernel("resize", problem.input.int8() ? "resize_s8" : "resize_f32", options), 0,
                     [problem](const KernelArgs& a) { reference::resize(problem, a.inputs[0], a.output); });
}

}  // namespace edgelane
