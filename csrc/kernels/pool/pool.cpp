#include "kernels/pool/pool.hpp"

#include <string>
#include <vector>

#include "kernels/function_kernel.hpp"
#include "kernels/pool/reference.hpp"

namespace edgelane {

std::unique_ptr<PreparedKernel> prepare_pool(const PoolProblem& problem, const KernelOptions& options) {
  using Kind = PoolProblem::Kind;
  const std::string kind = problem.kind == Kind::max       ? "max_pool"
                           : problem.kind == Kind::average ? "average_pool"
                                                           : "global_average_pool";
  const KernelEntry& entry = select_kernel("pool", kind + (problem.input.int8() ? "_s8" : "_f32"), options);
  return make_kernel(entry, 0, [problem](const KernelArgs& a) { reference::pool(problem, a.inputs[0], a.output); });
}

}  // namespace edgelane
