// 3x3 convolution of float32 by Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 16 pixels, where the direct
// form needs 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015). The reference is conv2d's.
//
// Every pixel's error depends on all 36 inputs of its 4x4 tile, not on its own nine alone: it is twice that of
// the direct form (root mean square, 64 and 256 channels), and a NaN or an infinity spreads over the tiles that read it.
#pragma once

#include <memory>

#include "kernels/conv2d/conv2d.hpp"

namespace edgelane {

// Whether this family takes the convolution: 3x3 with stride 1, without dilation and groups.
bool is_winograd(const Conv2dProblem& problem) noexcept;

// Its time for an image, in multiply-adds of whole vectors by the direct form's fastest kernel.
double winograd_cost(const Conv2dProblem& problem, const KernelOptions& options);

// As prepare_conv2d_f32, for problems that is_winograd takes. Zeros among the weights are not skipped. Errors as there.
std::unique_ptr<PreparedKernel> prepare_winograd_f32(const Conv2dProblem& problem, Span<const float> weights,
                                                     Span<const float> bias, const KernelOptions& options,
                                                     Span<const float> slope = {});

}  // namespace edgelane
