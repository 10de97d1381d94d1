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

struct PackedBlocks {
  std::vector<int32_t> starts;  // as StripArgs
  AlignedBuffer<int32_t> offsets;
  AlignedBuffer<uint8_t> weights;
  int64_t blocks = 0;
  size_t bytes() const { return starts.size() * sizeof(int32_t) + offsets.bytes() + weights.bytes(); }
};

// Blocks with a nonzero weight, block_oc output channels by one source plane (a channel, or a quad of int8 channels) at one tap.
template <class T>
int64_t count_blocks(Span<const T> weights, const ConvWeights& shape, int block_oc);

// `chunk_planes`: source planes of a chunk. `keep_zeros`: blocks without a nonzero weight are packed as well.
template <class T>
PackedBlocks pack_blocks(Span<const T> weights, const ConvWeights& shape, const StripGeometry& geometry, int block_oc,
                         WeightForm form, int chunk_planes, bool keep_zeros);

}  // namespace edgelane
