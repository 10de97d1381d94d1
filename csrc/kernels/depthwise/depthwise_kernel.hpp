// Between the two halves of a depthwise convolution: preparation (depthwise.cpp, portable) and the kernels (stencil_*.hpp,
// compiled once for each instruction set). Plain structures of pointers only: no code is shared between the two. Distances count
// in plane elements of four bytes: a float, or a quad of int8 channels.
#pragma once

#include <cstdint>

#include "kernels/conv2d/requantize.hpp"

namespace edgelane {

constexpr int kDepthwiseLanes = 16;  // the packing of int8 weights is for the widest vectors; narrower ones read a part of it

struct DepthwiseArgs {
  int kernel_h, kernel_w;
  int rows, width;           // of the output
  int64_t x_next_row;        // from what one output row reads to what the next one reads
  int64_t x_tap_row;         // from a row of taps to the next
  int x_tap;                 // from a tap to its right neighbour
  int row_step;              // fast kernels: output rows that share input rows are this far apart
  int64_t y_pitch, y_plane;  // of the output
  int64_t residual_pitch;
  // Of whole planes.
  int64_t x_plane, residual_plane, y_origin;
  int last_column;  // of a row's last vector, which zeros follow where it does not end the gap: `last_extent` elements in all
  int last_extent;
  FloatActivation activation;
  Requantize requantize;  // int8
};

// One channel (float32) or one quad of channels (int8).
struct DepthwisePlane {
  const uint8_t* x;         // the first tap of output pixel (0, 0)
  const uint8_t* residual;  // pixel (0, 0), or nullptr
  uint8_t* y;               // pixel (0, 0)
  // float32: [kernel_h][kernel_w]. int8: [kernel_h][ceil(kernel_w / 4)][kDepthwiseLanes][4]: lane i holds channel i % 4's weights
  // of four neighbouring taps, those past the last one 0.
  const uint8_t* weights;
  const void* bias;         // one float; or int32 [kDepthwiseLanes], lane i for channel i % 4
  const float* multiplier;  // int8: [kDepthwiseLanes]
  const float* slope;       // in place of the activation, or nullptr. float32: one; int8: [kDepthwiseLanes]
  int channels;             // int8: of the quad, the others are padding
};

using DepthwiseFunction = void (*)(const DepthwiseArgs& args, const DepthwisePlane& plane);

// Consecutive planes from `first` on, with their borders.
using DepthwisePlanesFunction = void (*)(const DepthwiseArgs& args, const DepthwisePlane& first, int64_t planes);

struct DepthwiseKernel {
  const char* name;
  Isa isa;
  int lanes;
  int input_bias;  // int8: as fold_scales
  // [(kernel - 3) / 2][stride - 1][narrow], or nullptr: squares of 3, 5 and 7 with equal strides of 1 or 2, the latter without
  // dilation. They compute fast_rows[stride - 1] output rows at once and need as many. narrow: the map is narrower than a vector.
  DepthwiseFunction fast[3][2][2];
  int fast_rows[2];
  DepthwiseFunction any[2][2];  // [horizontal stride - 1][narrow]
  // [(kernel - 3) / 2][stride - 1][a row is one vector], or nullptr: the same squares and strides, all without dilation. They
  // read and store whole vectors past the ends of rows.
  DepthwisePlanesFunction whole[3][2][2];
};

}  // namespace edgelane
