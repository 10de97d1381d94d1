// From a step of the model to a kernel: the one place that knows every family's prepare function.
#pragma once

#include <memory>
#include <vector>

#include "kernels/kernel.hpp"
#include "runtime/model.hpp"

namespace edgelane {

// Chooses the kernel of `step` for options.isa and packs its weights. Block-sparse weights are written out for this step only and
// freed before the function returns. `descs` are all tensors, with their layouts (layout_plan.hpp).
std::unique_ptr<PreparedKernel> prepare_step(const Model& model, const std::vector<TensorDesc>& descs, const Step& step,
                                             const KernelOptions& options);

// The tensors whose addresses the kernel of `step` takes, in the family's order; kAbsent stands for a null pointer.
std::vector<int> kernel_inputs(const Step& step);

}  // namespace edgelane
