// Steps that move elements without changing them, for every dtype, planar or plain on either side.
#pragma once

#include <memory>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// inputs: one per part, along `axis`. int8 parts with another scale or zero point than the output are requantised on the way.
std::unique_ptr<PreparedKernel> prepare_concat(Span<const TensorDesc> inputs, const TensorDesc& output, int axis,
                                               const KernelOptions& options);
// inputs: {x}; y[i] = x[starts + i * steps].
std::unique_ptr<PreparedKernel> prepare_slice(const TensorDesc& input, const TensorDesc& output, Span<const int> starts,
                                              Span<const int> steps, const KernelOptions& options);
// inputs: {x}; axis i of y is axis perm[i] of x.
std::unique_ptr<PreparedKernel> prepare_transpose(const TensorDesc& input, const TensorDesc& output, Span<const int> perm,
                                                  const KernelOptions& options);
// inputs: {x}; the same elements in row-major order. Also the import and export of a caller's row-major array.
std::unique_ptr<PreparedKernel> prepare_reshape(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options);
// inputs: {x}; y channel (i * groups + g) is x channel (g * channels / groups + i). Planar.
std::unique_ptr<PreparedKernel> prepare_channel_shuffle(const TensorDesc& input, const TensorDesc& output, int groups,
                                                        const KernelOptions& options);

enum class PadMode : uint8_t { constant = 0, reflect, edge, wrap };
// inputs: {x}; before[i] elements are added in front of axis i and the rest of the output's size behind it.
std::unique_ptr<PreparedKernel> prepare_pad(const TensorDesc& input, const TensorDesc& output, Span<const int> before,
                                            PadMode mode, float value, const KernelOptions& options);

}  // namespace edgelane
