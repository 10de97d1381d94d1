// What prepare_unary and prepare_binary do with int32, int64 and bool.
#pragma once

#include <memory>

#include "kernels/elementwise/elementwise.hpp"

namespace edgelane {

// The dtypes and shapes are checked.
std::unique_ptr<PreparedKernel> prepare_unary_integers(const UnaryProblem& problem, const KernelOptions& options);
std::unique_ptr<PreparedKernel> prepare_binary_integers(const BinaryProblem& problem, const KernelOptions& options);

}  // namespace edgelane
