// Fully connected layers: y[m][oc] = activation(sum_ic x[m][ic] * w[oc][ic] + bias[oc]); contract of linear_f32 and linear_s8.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "kernels/conv2d/conv2d.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct LinearProblem {
  int m = 1, ic = 0, oc = 0;  // x is plain row-major [m][ic], y is plain row-major [m][oc]
  Activation activation;
};

// inputs: {x}. Weights are dense [oc][ic], and zeros are multiplied like any other weight. bias: empty, or oc values.
std::unique_ptr<PreparedKernel> prepare_linear_f32(const LinearProblem& problem, Span<const float> weights,
                                                   Span<const float> bias, const KernelOptions& options);

// x is biased int8; y is biased int8 or float32. Residual and intermediate of `quant` are not used.
std::unique_ptr<PreparedKernel> prepare_linear_s8(const LinearProblem& problem, const Conv2dS8Params& quant,
                                                  Span<const int8_t> weights, Span<const int32_t> bias,
                                                  const KernelOptions& options);

}  // namespace edgelane
