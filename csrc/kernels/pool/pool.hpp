// 2-D pooling, float32 and int8.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct PoolProblem {
  enum class Kind { max, average, global_average } kind = Kind::max;
  TensorDesc input, output;  // planar, equal dtype
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int dilation_h = 1, dilation_w = 1;  // max only
  bool count_include_pad = false;      // average only
};

// inputs: {x}. As ONNX MaxPool, AveragePool and GlobalAveragePool; windows that reach past the padded image (ceil_mode) are
// clipped. The input's border is not read as padding: max ignores padding, average counts it as zero or not at all.
std::unique_ptr<PreparedKernel> prepare_pool(const PoolProblem& problem, const KernelOptions& options);

}  // namespace edgelane
