// Between preparation (linear.cpp, portable) and the kernels (gemm.hpp, compiled once for each instruction set).
#pragma once

#include <cstdint>

#include "core/cpu_features.hpp"
#include "kernels/conv2d/requantize.hpp"

namespace edgelane {

struct LinearArgs {
  const uint8_t* x;        // rows of `depth` steps: floats, or quads or octets of biased int8
  int64_t x_row_bytes;     // from a row to the next
  void* y;                 // [m][oc], float or biased int8
  const uint8_t* weights;  // [tile][depth][channels of a tile], floats, or quads or octets of int8; rows past oc are 0
  int oc, depth;
  const float* bias;        // float32: [oc rounded up]
  const float* multiplier;  // int8: [oc rounded up]
  const int32_t* bias_s32;  // int8: [oc rounded up]
  FloatActivation activation;
  Requantize requantize;  // int8
};

// Computes rows first_row to last_row - 1 of tile `tile` of output channels.
using LinearFunction = void (*)(const LinearArgs& args, int tile, int first_row, int last_row);

struct LinearKernel {
  const char* name;
  Isa isa;
  bool int8;
  int tile_channels;
  int step_bytes;  // of a row of x, and of each channel's weights, that one step multiplies
  int input_bias;  // int8: as fold_scales
  LinearFunction run;
};

}  // namespace edgelane
