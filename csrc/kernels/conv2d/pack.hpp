// Weights as a strip kernel reads them: a stream of nonzero blocks with the offset of the source element that each multiplies.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/span.hpp"
#include "kernels/conv2d/geometry.hpp"
#include "kernels/conv2d/strip_kernel.hpp"

namespace edgelane {

// Shape of a convolution's dense weights [oc][ic / groups][taps].
struct ConvWeights {
  int oc, ic, groups, taps;
  int group_oc() const { return oc / groups; }
  int group_ic() const { return ic / groups; }
};

// A convolution's weights as one row of words for each output channel, a word (a float, or a quad of int8) for each source plane
// of the channel's group and each tap, and the map of the words that are not zero, which all sizes of blocks are counted from.
class WeightRows {
 public:
  // float or int8_t. Refers to `weights`, which must outlive this object.
  template <class T>
  WeightRows(Span<const T> weights, const ConvWeights& shape);

  const ConvWeights& shape() const { return shape_; }
  int plane_channels() const { return plane_channels_; }
  uint32_t nonzero_mask() const { return nonzero_mask_; }
  // Source planes first_plane(oc) to last_plane(oc) - 1 are those of the channel's group.
  int first_plane(int oc) const { return static_cast<int>(group_start(oc) / plane_channels_); }
  int last_plane(int oc) const { return static_cast<int>((group_start(oc) + shape_.group_ic() - 1) / plane_channels_) + 1; }
  const uint8_t* words(int oc) const { return words_ + static_cast<size_t>(oc) * row_words_ * sizeof(uint32_t); }
  const uint64_t* map(int oc) const { return maps_.data() + static_cast<size_t>(oc) * map_words_; }

 private:
  int64_t group_start(int oc) const { return int64_t{oc} / shape_.group_oc() * shape_.group_ic(); }
  void gather_quads(Span<const int8_t> weights);

  ConvWeights shape_;
  int plane_channels_;
  uint32_t nonzero_mask_;  // a float's sign does not make it nonzero
  size_t row_words_, map_words_;
  const uint8_t* words_;
  std::vector<uint32_t> quads_;
  std::vector<uint64_t> maps_;
};

struct PackedBlocks {
  std::vector<int32_t> starts;  // as StripArgs
  std::vector<uint8_t> order;
  AlignedBuffer<int32_t> offsets;
  AlignedBuffer<uint8_t> weights;
  int64_t blocks = 0;
  std::vector<int64_t> group_blocks;      // before each group of output-channel blocks, and in all
  std::vector<int32_t> rows, chunk_rows;  // staged, as StripArgs
  size_t bytes() const {
    return (starts.size() + rows.size() + chunk_rows.size()) * sizeof(int32_t) + order.size() +
           group_blocks.size() * sizeof(int64_t) + offsets.bytes() + weights.bytes();
  }
};

// Blocks with a nonzero weight, block_oc (at most 64) output channels by one source plane at one tap.
int64_t count_blocks(const WeightRows& rows, int block_oc);

// `chunk_planes`: source planes of a chunk. `keep_zeros`: blocks without a nonzero weight are packed as well.
PackedBlocks pack_blocks(const WeightRows& rows, const StripGeometry& geometry, int block_oc, WeightForm form, int chunk_planes,
                         bool keep_zeros);

// For staged float32 kernels: chunks of at most `max_rows` rows (a row is a source plane at a tap that some channel multiplies),
// which lie `row_elements` apart once staged.
PackedBlocks pack_staged(const WeightRows& rows, const StripGeometry& geometry, int max_rows, int row_elements);

}  // namespace edgelane
