// Depthwise 2-D convolution, float32 and int8: the convolutions of conv2d.hpp in which every output channel reads one input
// channel. The reference is conv2d's (kernels/conv2d/reference.hpp).
#pragma once

#include <memory>

#include "kernels/conv2d/conv2d.hpp"

namespace edgelane {

// Whether this family takes the convolution: float32 with any number of output channels for each input channel, int8 with one;
// any kernel, dilation and padding; a horizontal stride of 1 or 2.
bool is_depthwise(const Conv2dProblem& problem, bool int8) noexcept;

// As prepare_conv2d_f32 and prepare_conv2d_s8, for problems that are depthwise. Zeros among the weights are not skipped.
std::unique_ptr<PreparedKernel> prepare_depthwise_f32(const Conv2dProblem& problem, Span<const float> weights,
                                                      Span<const float> bias, const KernelOptions& options,
                                                      Span<const float> slope = {});
std::unique_ptr<PreparedKernel> prepare_depthwise_s8(const Conv2dProblem& problem, const Conv2dS8Params& quant,
                                                     Span<const int8_t> weights, Span<const int32_t> bias,
                                                     const KernelOptions& options, Span<const float> slope = {});

}  // namespace edgelane
