// Between the two halves of a strip convolution: preparation (strip.cpp, portable) and the kernels (strip.hpp, compiled once for
// each instruction set). Plain structures of pointers only: no code is shared between the two.
#pragma once

#include <cstdint>

#include "kernels/conv2d/geometry.hpp"
#include "kernels/conv2d/requantize.hpp"

namespace edgelane {

// How one weight of a block is stored: a float, four int8 of a quad, or the same four as int16 in the order 0, 2, 1, 3.
enum class WeightForm : uint8_t { f32, s8_quad, s16_quad };

constexpr int weight_bytes(WeightForm form) { return form == WeightForm::s16_quad ? 8 : 4; }

// Blocks of output channels that share a chunk of the input while it is in the first-level cache.
constexpr int group_blocks(int block_oc) { return block_oc == 1 ? 32 : 8; }

// Reads the source where it lies (strip.hpp), or copies chunks of it (staged.hpp).
enum class StripMethod : uint8_t { strip, staged };

constexpr int kStagedBytes = 40 * 1024;  // of staged rows at most

// Sums of a tile with fewer than this wait for each other; the kernels then split each into several (StripTile::kSplit).
constexpr int kSumsInFlight = 8;

struct StripArgs {
  const uint8_t* source;  // plane 0 of image 0 at position 0
  int64_t source_batch;   // elements from an image to the next
  void* output;
  const void* residual;  // nullptr: none

  // Nonzero blocks in the order of their use: for each group of group_blocks blocks of output channels, for each chunk of input
  // channels, for each block of output channels: starts[i] to starts[i + 1] are those of block order[i] of the group.
  const int32_t* starts;
  const uint8_t* order;
  const int32_t* offsets;  // of the source element that the block multiplies
  const uint8_t* weights;
  int oc, oc_blocks, chunks;

  // Staged kernels (staged.hpp) alone: the source offsets of each chunk's rows, rows[chunk_rows[chunk]] and on; elements from a
  // staged row to the next; where a task's sums rest between chunks. Offsets are then those of staged rows, and a list is of two
  // output channels: for each chunk, for each group, for each pair of its channels.
  const int32_t* rows;
  const int32_t* chunk_rows;
  int row_elements;
  float* sums;

  const int32_t* tiles;  // [tile + 1], the first vector of each tile of positions
  const Segment* output_segments;
  const int32_t* output_first;
  bool output_single;
  const Segment* residual_segments;
  const int32_t* residual_first;
  bool residual_single;
  int vectors;  // of the whole strip

  // Output and residual have the source's pitch, and the activation is a clamp or slopes; or any, of float32 without a residual.
  // int8 goes to int8 at once.
  bool direct;
  bool prefetch;  // direct, and the output is too large for the second-level cache

  PlanarLayout output_layout;
  int64_t residual_plane, residual_origin;
  int output_planes, residual_planes;  // channels or quads of an image

  const float* bias;        // float32: [oc rounded up]
  const float* multiplier;  // int8: [oc rounded up]
  const int32_t* bias_s32;  // int8: [oc rounded up]
  const float* slope;       // [oc rounded up], in place of the activation, or nullptr
  FloatActivation activation;
  Requantize requantize;  // int8
};

// Computes tile `tile` of image `image` for the groups of output-channel blocks first_group to last_group - 1.
using StripFunction = void (*)(const StripArgs& args, int image, int tile, int first_group, int last_group);

struct StripKernel {
  const char* name;
  Isa isa;
  StripMethod method;
  WeightForm form;
  int block_oc;     // output channels of a block
  int lanes;        // positions in a vector
  int max_vectors;  // of a tile
  int input_bias;   // int8: as fold_scales
  StripFunction run;
  EverySecondFunction every_second;
};

}  // namespace edgelane
