// ONNX Resize of height and width, float32 (all modes) and int8 (nearest), planar.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct ResizeProblem {
  enum class Mode : uint8_t { nearest = 0, linear, cubic } mode = Mode::nearest;
  enum class Coordinates : uint8_t {
    half_pixel = 0,
    asymmetric,
    align_corners,
    pytorch_half_pixel
  } coordinates = Coordinates::half_pixel;
  enum class Nearest : uint8_t { round_prefer_floor = 0, floor, ceil, round_prefer_ceil } nearest = Nearest::round_prefer_floor;
  TensorDesc input, output;
  float scale_h = 1.0f, scale_w = 1.0f;  // output size / input size as the ONNX node states it
  float cubic_coeff = -0.75f;
};

// inputs: {x}
std::unique_ptr<PreparedKernel> prepare_resize(const ResizeProblem& problem, const KernelOptions& options);

}  // namespace edgelane
