// 2-D convolution, float32 and int8, dense, sparse, grouped and depthwise: contract of the families conv2d_f32 and conv2d_s8.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct Conv2dProblem {
  PlanarLayout input, output;
  PlanarLayout residual;  // its own border and pitch; channels == 0: no residual
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0;  // output pixel (y, x) reads input rows y * stride_h - pad_top + ky * dilation_h
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;
  Activation activation;
};

// inputs: {x, residual or nullptr}. Weights are dense [oc][ic / groups][kh][kw]; zeros are found and skipped where that is
// faster. bias: empty, or oc values. The input's border must cover every tap (the memory plan sees to it): pad_top and pad_left,
// and below and to the right as far as the last output pixel reads. y = activation(t) with t = conv + bias + residual. slope:
// empty, or oc values; then the problem has no activation, and y = t < 0 ? slope[oc] * t : t.
std::unique_ptr<PreparedKernel> prepare_conv2d_f32(const Conv2dProblem& problem, Span<const float> weights,
                                                   Span<const float> bias, const KernelOptions& options,
                                                   Span<const float> slope = {});

struct Conv2dS8Params {
  QuantParams input;
  Span<const float> weight_scales;  // 1 or oc
  bool float_output = false;        // y is float32 planar instead of int8
  QuantParams output;
  QuantParams residual;
  bool has_intermediate = false;  // quantise the convolution before the residual is added (export/FORMAT.md, "Arithmetic")
  QuantParams intermediate;
};

// The int8 counterpart; x, y and residual are biased int8 planes (formats/layout.hpp). bias is int32 with scale
// input.scale * weight_scales[oc]. Integer accumulation is exact and the same on every instruction set.
std::unique_ptr<PreparedKernel> prepare_conv2d_s8(const Conv2dProblem& problem, const Conv2dS8Params& quant,
                                                  Span<const int8_t> weights, Span<const int32_t> bias,
                                                  const KernelOptions& options, Span<const float> slope = {});

}  // namespace edgelane
