// Normalisation over the last axes together, float32, planar or plain: LayerNorm, RMSNorm, and the cores of InstanceNorm and
// GroupNorm.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct NormalizeProblem {
  TensorDesc input, output;
  int axis = 0;              // this and all that follow
  bool mean_square = false;  // x / sqrt(mean of squares + epsilon), else (x - mean) / sqrt(variance + epsilon)
  float epsilon = 1e-5f;
};

// inputs: {x}. scale, bias: empty, or a value for each element of the normalised axes.
//
// Results differ from exact arithmetic by at most (72 + 44 |y|) 2^-24 before scale and bias, whatever the mean, as long as the
// mean is below some thousand standard deviations and no square leaves float32: sums are of differences from a first
// approximation of the mean.
std::unique_ptr<PreparedKernel> prepare_normalize(const NormalizeProblem& problem, Span<const float> scale,
                                                  Span<const float> bias, const KernelOptions& options);

}  // namespace edgelane
