// Element-wise steps, planar or plain.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/elementwise/binary_function.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct UnaryProblem {
  // Equal shapes; float32, int8 (through a 256-entry table), int32 and int64 (none, relu, abs, neg, sign), bool (logical_not),
  // and float32 to bool (is_nan, is_inf).
  TensorDesc input, output;
  Activation activation;
};
// inputs: {x}
std::unique_ptr<PreparedKernel> prepare_unary(const UnaryProblem& problem, const KernelOptions& options);

struct AffineProblem {
  TensorDesc input, output;  // float32, channel axis 1 (planar) or the second of plain tensors
  Activation activation;
};
// inputs: {x}; y = activation(t) with t = x * scale[c] + shift[c], computed as a rounded product and a rounded sum or as one
// fused operation. slope: empty, or one value for each channel; then the problem has no activation, and y = t < 0 ? slope[c] * t
// : t.
std::unique_ptr<PreparedKernel> prepare_affine(const AffineProblem& problem, Span<const float> scale, Span<const float> shift,
                                               const KernelOptions& options, Span<const float> slope = {});

// inputs: {x}; y = x < 0 ? slope[c] * x : x, float32, channel axis 1.
std::unique_ptr<PreparedKernel> prepare_prelu(const TensorDesc& input, const TensorDesc& output, Span<const float> slope,
                                              const KernelOptions& options);

struct BinaryProblem {
  // numpy broadcasting by dims; the dtypes of export/FORMAT.md, and an activation of float32 and int8 results alone.
  TensorDesc a, b, output;
  BinaryFunction function = BinaryFunction::add;
  Activation activation;
};
// inputs: {a, b}
std::unique_ptr<PreparedKernel> prepare_binary(const BinaryProblem& problem, const KernelOptions& options);

struct WhereProblem {
  TensorDesc condition, a, b, output;  // numpy broadcasting by dims; a bool, and one dtype (and scale) of any kind
};
// inputs: {condition, a, b}
std::unique_ptr<PreparedKernel> prepare_where(const WhereProblem& problem, const KernelOptions& options);

}  // namespace edgelane
