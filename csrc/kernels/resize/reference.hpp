// What ONNX Resize means, one output element at a time; never optimised.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/movement/reference.hpp"
#include "kernels/resize/resize.hpp"

namespace edgelane::reference {

// The coordinate in the input that output coordinate `i` stands for.
inline float resize_coordinate(ResizeProblem::Coordinates mode, int i, float scale, int in_size, int out_size) {
  using C = ResizeProblem::Coordinates;
  switch (mode) {
    case C::asymmetric:
      return static_cast<float>(i) / scale;
    case C::align_corners:
      return out_size == 1 ? 0.0f : static_cast<float>(i) * static_cast<float>(in_size - 1) / static_cast<float>(out_size - 1);
    case C::pytorch_half_pixel:
      return out_size > 1 ? (static_cast<float>(i) + 0.5f) / scale - 0.5f : 0.0f;
    case C::half_pixel:
      break;
  }
  return (static_cast<float>(i) + 0.5f) / scale - 0.5f;
}

inline int nearest_index(ResizeProblem::Nearest mode, float at, int in_size) {
  using N = ResizeProblem::Nearest;
  float r = 0;
  switch (mode) {
    case N::round_prefer_floor:
      r = std::ceil(at - 0.5f);
      break;
    case N::round_prefer_ceil:
      r = std::floor(at + 0.5f);
      break;
    case N::floor:
      r = std::floor(at);
      break;
    case N::ceil:
      r = std::ceil(at);
      break;
  }
  return std::min(std::max(static_cast<int>(r), 0), in_size - 1);
}

// The input elements along one axis that an output coordinate is made of; indices are clamped to the image.
struct ResizeTaps {
  int count = 1;
  int index[4] = {};
  float weight[4] = {1, 0, 0, 0};
};

inline ResizeTaps resize_taps(const ResizeProblem& p, int i, float scale, int in_size, int out_size) {
  const float at = resize_coordinate(p.coordinates, i, scale, in_size, out_size);
  const auto clamped = [&](int k) { return std::min(std::max(k, 0), in_size - 1); };
  ResizeTaps taps;
  if (p.mode == ResizeProblem::Mode::nearest) {
    taps.index[0] = nearest_index(p.nearest, at, in_size);
  } else if (p.mode == ResizeProblem::Mode::linear) {
    // Clamping the coordinate, rather than the indices, is the same for a linear filter.
    const float inside = std::min(std::max(at, 0.0f), static_cast<float>(in_size - 1));
    const int low = static_cast<int>(inside);
    const float t = inside - static_cast<float>(low);
    taps = {2, {low, clamped(low + 1)}, {1.0f - t, t}};
  } else {
    const float base = std::floor(at), t = at - base, a = p.cubic_coeff;
    // Keys' cubic convolution at distances 1 + t, t, 1 - t, 2 - t.
    const auto near = [a](float d) { return ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f; };
    const auto far = [a](float d) { return ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a; };
    const int k = static_cast<int>(base);
    taps = {
        4, {clamped(k - 1), clamped(k), clamped(k + 1), clamped(k + 2)}, {far(1.0f + t), near(t), near(1.0f - t), far(2.0f - t)}};
  }
  return taps;
}

inline void resize(const ResizeProblem& p, const void* x, void* y) {
  const ElementOffsets in(p.input), out(p.output);
  int i[4] = {};
  do {
    const ResizeTaps v = resize_taps(p, i[2], p.scale_h, p.input.dims[2], p.output.dims[2]);
    const ResizeTaps h = resize_taps(p, i[3], p.scale_w, p.input.dims[3], p.output.dims[3]);
    if (p.mode == ResizeProblem::Mode::nearest) {
      const int at[4] = {i[0], i[1], v.index[0], h.index[0]};
      move(p.input, x, in(at, 4), p.output, y, out(i, 4));
      continue;
    }
    double sum = 0;
    for (int ky = 0; ky < v.count; ++ky) {
      for (int kx = 0; kx < h.count; ++kx) {
        const int at[4] = {i[0], i[1], v.index[ky], h.index[kx]};
        sum += static_cast<double>(v.weight[ky]) * h.weight[kx] * static_cast<const float*>(x)[in(at, 4)];
      }
    }
    static_cast<float*>(y)[out(i, 4)] = static_cast<float>(sum);
  } while (next_index(i, p.output.dims, 4));
  fill_borders(y, p.output);
}

}  // namespace edgelane::reference
