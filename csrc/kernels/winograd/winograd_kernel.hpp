// Between the two halves of a Winograd convolution: preparation (winograd.cpp, portable) and the kernels (winograd_f32.hpp,
// compiled once for each instruction set). Plain structures of pointers only: no code is shared between the two.
#pragma once

#include <cstdint>

#include "formats/layout.hpp"
#include "kernels/conv2d/requantize.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// The transforms interpolate at 0, +-a, +-b and infinity. With a * b = 1 and a^2 = 1/2 the factors stay near 1, and the error
// is less than half of that with the usual points 1 and 2, measured on 64 and 256 channels (Barabasz, Anderson, Soodhalter and
// Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020, on the choice of
// points).
constexpr double kPointA = 0.70710678118654752440, kPointB = 1.41421356237309504880;
constexpr int kWinogradTile = 4;                                  // output pixels along each axis of a tile
constexpr int kWinogradPatch = 6;                                 // inputs along each axis that a tile reads
constexpr int kWinogradPlanes = kWinogradPatch * kWinogradPatch;  // products of a tile and a channel

struct WinogradArgs {
  const float* input;     // of the image, pixel (-pad_top, -pad_left) of channel 0
  const float* residual;  // of the image, pixel (0, 0) of channel 0; nullptr: none
  float* output;          // of the image, pixel (0, 0) of channel 0
  int64_t input_plane, residual_plane, output_plane;
  int64_t input_pitch, residual_pitch, output_pitch;
  int input_channels, output_channels;
  int input_rows, input_columns;  // from that pixel on, what the output depends on
  int height, width;              // of the output
  int tile_columns, tiles;        // tiles in a row, and in an image; tile t is at (t / tile_columns, t % tile_columns)
  const float* weights;           // [output channels / block_oc][plane][input channel][block_oc]
  const float* bias;              // [output channels rounded up to block_oc]
  const float* slope;             // [output channels], in place of the activation, or nullptr
  FloatActivation activation;
  float* products;  // [plane][input channel][vectors of tiles]: transformed inputs of a block of tiles
};

// Channels first to last - 1, or blocks of block_oc output channels, of `vectors` vectors of tiles from first_tile on.
using WinogradFunction = void (*)(const WinogradArgs& args, int first_tile, int vectors, int first, int last);

struct WinogradKernel {
  const char* name;
  Isa isa;
  int block_oc;                      // output channels at a time
  int lanes;                         // tiles in a vector
  int max_vectors;                   // of a block of tiles
  WinogradFunction transform_input;  // of input channels
  WinogradFunction multiply;         // and transform and store the output, of blocks of output channels
};

}  // namespace edgelane
