// Transposed 2-D convolution, float32, as ONNX ConvTranspose.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct ConvTranspose2dProblem {
  PlanarLayout input, output;
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0;  // input pixel (y, x) adds to output row y * stride_h - pad_top + ky * dilation_h
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;
  Activation activation;
};

// inputs: {x}. Weights are dense [ic][oc / groups][kh][kw]. bias, slope: empty, or oc values, as in conv2d.hpp. The input's
// border is not needed.
std::unique_ptr<PreparedKernel> prepare_conv_transpose2d_f32(const ConvTranspose2dProblem& problem, Span<const float> weights,
                                                             Span<const float> bias, const KernelOptions& options,
                                                             Span<const float> slope = {});

}  // namespace edgelane
