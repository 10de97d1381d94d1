#include "kernels/conv2d/pack.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/status.hpp"
#include "formats/layout.hpp"

namespace edgelane {
namespace {

// Channels of the input that lie in one source plane.
template <class T>
constexpr int kPlaneChannels = std::is_same_v<T, float> ? 1 : kChannelGroup;

// One block of dense weights, zero where a channel is past the end or of another group.
template <class T>
struct Block {
  T values[64][kPlaneChannels<T>];
  bool nonzero;
};

template <class T>
void gather(Span<const T> weights, const ConvWeights& s, int first_oc, int block_oc, int plane, int tap, Block<T>& block) {
  block.nonzero = false;
  for (int o = 0; o < block_oc; ++o)
    for (int c = 0; c < kPlaneChannels<T>; ++c) {
      const int oc = first_oc + o;
      T value{0};
      if (oc < s.oc) {
        const int ic = plane * kPlaneChannels<T> + c - oc / s.group_oc() * s.group_ic();
        if (ic >= 0 && ic < s.group_ic()) value = weights[(static_cast<size_t>(oc) * s.group_ic() + ic) * s.taps + tap];
      }
      block.values[o][c] = value;
      block.nonzero |= value != T{0};
    }
}

// Source planes first to last - 1 that a block of output channels reads.
template <class T>
void plane_range(const ConvWeights& s, int first_oc, int block_oc, int& first, int& last) {
  const int last_oc = std::min(first_oc + block_oc, s.oc) - 1;
  first = first_oc / s.group_oc() * s.group_ic() / kPlaneChannels<T>;
  last = ((last_oc / s.group_oc() + 1) * s.group_ic() - 1) / kPlaneChannels<T> + 1;
}

void store(const Block<float>& block, int block_oc, WeightForm, uint8_t* to) {
  std::memcpy(to, block.values, static_cast<size_t>(block_oc) * sizeof(float));
}

void store(const Block<int8_t>& block, int block_oc, WeightForm form, uint8_t* to) {
  if (form == WeightForm::s8_quad) {
    std::memcpy(to, block.values, static_cast<size_t>(block_oc) * kChannelGroup);
    return;
  }
  for (int o = 0; o < block_oc; ++o) {
    const int8_t* q = block.values[o];
    const int16_t words[kChannelGroup] = {q[0], q[2], q[1], q[3]};
    std::memcpy(to + static_cast<size_t>(o) * sizeof words, words, sizeof words);
  }
}

}  // namespace

template <class T>
int64_t count_blocks(Span<const T> weights, const ConvWeights& s, int block_oc) {
  int64_t count = 0;
  Block<T> block;
  for (int oc = 0; oc < s.oc; oc += block_oc) {
    int first, last;
    plane_range<T>(s, oc, block_oc, first, last);
    for (int plane = first; plane < last; ++plane)
      for (int tap = 0; tap < s.taps; ++tap) {
        gather(weights, s, oc, block_oc, plane, tap, block);
        count += block.nonzero;
      }
  }
  return count;
}

template <class T>
PackedBlocks pack_blocks(Span<const T> weights, const ConvWeights& s, const StripGeometry& g, int block_oc, WeightForm form,
                         int chunk_planes, bool keep_zeros) {
  const int oc_blocks = (s.oc + block_oc - 1) / block_oc;
  const int chunks = std::max(1, (g.planes + chunk_planes - 1) / chunk_planes);
  const size_t block_bytes = static_cast<size_t>(block_oc) * weight_bytes(form);
  std::vector<int32_t> offsets;
  std::vector<uint8_t> stream;
  PackedBlocks packed;
  packed.starts.push_back(0);
  Block<T> block;
  for (int group = 0; group < oc_blocks; group += kGroupBlocks)
    for (int chunk = 0; chunk < chunks; ++chunk)
      for (int b = group; b < std::min(group + kGroupBlocks, oc_blocks); ++b) {
        int first, last;
        plane_range<T>(s, b * block_oc, block_oc, first, last);
        first = std::max(first, chunk * chunk_planes);
        last = std::min(last, (chunk + 1) * chunk_planes);
        for (int plane = first; plane < last; ++plane)
          for (int tap = 0; tap < s.taps; ++tap) {
            gather(weights, s, b * block_oc, block_oc, plane, tap, block);
            if (!block.nonzero && !keep_zeros) continue;
            offsets.push_back(static_cast<int32_t>(plane * g.plane + g.tap_offsets[static_cast<size_t>(tap)]));
            stream.resize(stream.size() + block_bytes);
            store(block, block_oc, form, stream.data() + stream.size() - block_bytes);
          }
        packed.starts.push_back(static_cast<int32_t>(offsets.size()));
      }
  packed.blocks = static_cast<int64_t>(offsets.size());
  packed.offsets = AlignedBuffer<int32_t>(offsets.size());
  packed.weights = AlignedBuffer<uint8_t>(stream.size());
  std::copy(offsets.begin(), offsets.end(), packed.offsets.data());
  std::copy(stream.begin(), stream.end(), packed.weights.data());
  return packed;
}

template int64_t count_blocks<float>(Span<const float>, const ConvWeights&, int);
template int64_t count_blocks<int8_t>(Span<const int8_t>, const ConvWeights&, int);
template PackedBlocks pack_blocks<float>(Span<const float>, const ConvWeights&, const StripGeometry&, int, WeightForm, int, bool);
template PackedBlocks pack_blocks<int8_t>(Span<const int8_t>, const ConvWeights&, const StripGeometry&, int, WeightForm, int,
                                          bool);

}  // namespace edgelane
