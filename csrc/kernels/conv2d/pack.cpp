// One pass over the weights finds the nonzeros; counting blocks of any size, and walking them in the order of their use, is then
// work on maps of bits, 64 words of weights at a time.
#include "kernels/conv2d/pack.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "formats/bits.hpp"
#include "formats/layout.hpp"

namespace edgelane {
namespace {

constexpr size_t kWordBytes = sizeof(uint32_t);
constexpr int kMaxBlockOc = 64;

// A block of output channels: its rows, all over the same source planes, and the words that are nonzero in any of them.
class BlockRows {
 public:
  BlockRows(const WeightRows& rows, int block_oc) : rows_(rows), block_oc_(block_oc) {}

  // The block that begins at channel `oc`.
  void open(int oc) {
    const int taps = rows_.shape().taps, last_oc = std::min(oc + block_oc_, rows_.shape().oc) - 1;
    first_ = int64_t{rows_.first_plane(oc)} * taps;
    last_ = int64_t{rows_.last_plane(last_oc)} * taps;
    if (rows_.first_plane(last_oc) == rows_.first_plane(oc) && rows_.last_plane(oc) == rows_.last_plane(last_oc)) {
      refer(oc, last_oc);
    } else {
      copy(oc, last_oc);
    }
  }

  // Words of the block, numbered source plane * taps + tap.
  int64_t first() const { return first_; }
  int64_t last() const { return last_; }
  // Word k of the map; bit 0 of word 0 is the block's first word.
  uint64_t map(int64_t k) const { return map_[static_cast<size_t>(k)]; }
  const uint8_t* word(int o, int64_t number) const { return words_[o] + static_cast<size_t>(number - first_) * kWordBytes; }

 private:
  // All channels read the same planes: the rows are used where they lie, and the maps are united.
  void refer(int oc, int last_oc) {
    const size_t count = map_words(last_ - first_);
    map_.assign(rows_.map(oc), rows_.map(oc) + count);
    for (int o = oc + 1; o <= last_oc; ++o) {
      const uint64_t* map = rows_.map(o);
      for (size_t k = 0; k < count; ++k) map_[k] |= map[k];
    }
    for (int o = oc; o <= last_oc; ++o) words_[o - oc] = rows_.words(o);
    if (last_oc - oc + 1 == block_oc_) return;
    copies_.assign(static_cast<size_t>(last_ - first_), 0);  // channels past the last one
    std::fill(words_ + (last_oc - oc + 1), words_ + block_oc_, reinterpret_cast<const uint8_t*>(copies_.data()));
  }

  // Channels of several groups, or with quads that two groups share: every row is written out over the planes of all.
  void copy(int oc, int last_oc) {
    const auto count = static_cast<size_t>(last_ - first_);
    copies_.assign(count * static_cast<size_t>(block_oc_), 0);
    map_.assign(map_words(last_ - first_), 0);
    for (int o = 0; o < block_oc_; ++o) {
      uint32_t* to = copies_.data() + static_cast<size_t>(o) * count;
      words_[o] = reinterpret_cast<const uint8_t*>(to);
      if (oc + o > last_oc) continue;
      const int64_t begin = int64_t{rows_.first_plane(oc + o)} * rows_.shape().taps;
      const int64_t end = int64_t{rows_.last_plane(oc + o)} * rows_.shape().taps;
      std::memcpy(to + (begin - first_), rows_.words(oc + o), static_cast<size_t>(end - begin) * kWordBytes);
      for (size_t k = 0; k < map_.size(); ++k) {
        const size_t at = k * kMapBits;
        map_[k] |= nonzero_bits(words_[o] + at * kWordBytes, static_cast<int>(std::min<size_t>(kMapBits, count - at)),
                                rows_.nonzero_mask());
      }
    }
  }

  const WeightRows& rows_;
  const int block_oc_;
  int64_t first_ = 0, last_ = 0;
  const uint8_t* words_[kMaxBlockOc] = {};
  std::vector<uint64_t> map_;
  std::vector<uint32_t> copies_;
};

// A word in the form that the kernel multiplies by.
template <WeightForm Form>
void store(const uint8_t* word, uint8_t* to) {
  if constexpr (Form == WeightForm::s16_quad) {
    int8_t q[kChannelGroup];
    std::memcpy(q, word, sizeof q);
    const int16_t words[kChannelGroup] = {q[0], q[2], q[1], q[3]};
    std::memcpy(to, words, sizeof words);
  } else {
    std::memcpy(to, word, kWordBytes);
  }
}

// Calls f(number) for every word of [begin, end) that the packing has.
template <class F>
void for_each_word(const BlockRows& block, int64_t begin, int64_t end, bool keep_zeros, const F& f) {
  if (keep_zeros) {
    for (int64_t number = begin; number < end; ++number) f(number);
  } else {
    for_each_one([&](int64_t k) { return block.map(k); }, begin - block.first(), end - block.first(),
                 [&](int64_t i) { f(block.first() + i); });
  }
}

// Calls f(number, word) for every nonzero word of one output channel whose number is in [begin, end).
template <class F>
void for_each_word_of(const WeightRows& rows, int oc, int64_t begin, int64_t end, const F& f) {
  const int taps = rows.shape().taps;
  const int64_t first = int64_t{rows.first_plane(oc)} * taps, last = int64_t{rows.last_plane(oc)} * taps;
  begin = std::max(begin, first), end = std::min(end, last);
  const uint64_t* const map = rows.map(oc);
  for_each_one([&](int64_t k) { return map[k]; }, begin - first, end - first,
               [&](int64_t i) { f(first + i, rows.words(oc) + static_cast<size_t>(i) * kWordBytes); });
}

// Writes the stream that `packed` has room for.
template <WeightForm Form>
void pack_stream(const WeightRows& rows, const StripGeometry& g, int block_oc, int chunk_planes, bool keep_zeros,
                 PackedBlocks& packed) {
  const ConvWeights& s = rows.shape();
  const int oc_blocks = (s.oc + block_oc - 1) / block_oc;
  const int chunks = std::max(1, (g.planes + chunk_planes - 1) / chunk_planes);
  std::vector<int32_t> offset_of(static_cast<size_t>(g.planes) * static_cast<size_t>(s.taps));
  for (int plane = 0; plane < g.planes; ++plane) {
    for (int tap = 0; tap < s.taps; ++tap) {
      offset_of[static_cast<size_t>(plane) * s.taps + tap] =
          static_cast<int32_t>(plane * g.plane + g.tap_offsets[static_cast<size_t>(tap)]);
    }
  }
  packed.starts.reserve(static_cast<size_t>(oc_blocks) * chunks + 1);
  packed.order.reserve(static_cast<size_t>(oc_blocks) * chunks);
  packed.starts.push_back(0);
  int32_t* offset = packed.offsets.data();
  uint8_t* weights = packed.weights.data();
  const int group_size = group_blocks(block_oc);
  std::vector<BlockRows> blocks(static_cast<size_t>(group_size), BlockRows(rows, block_oc));
  std::vector<std::pair<int64_t, uint8_t>> by_count;
  for (int group = 0; group < oc_blocks; group += group_size) {
    packed.group_blocks.push_back(offset - packed.offsets.data());
    const int count = std::min(group_size, oc_blocks - group);
    for (int b = 0; b < count; ++b) blocks[static_cast<size_t>(b)].open((group + b) * block_oc);
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const auto for_each = [&](const BlockRows& block, const auto& f) {
        const int64_t begin = std::max(block.first(), int64_t{chunk} * chunk_planes * s.taps);
        const int64_t end = std::min(block.last(), (int64_t{chunk} + 1) * chunk_planes * s.taps);
        for_each_word(block, begin, end, keep_zeros, f);
      };
      // Lists of one length follow each other: the end of a loop that ran as long the last time is predicted.
      by_count.clear();
      for (int b = 0; b < count; ++b) {
        int64_t words = 0;
        for_each(blocks[static_cast<size_t>(b)], [&](int64_t) { ++words; });
        by_count.emplace_back(words, static_cast<uint8_t>(b));
      }
      std::sort(by_count.begin(), by_count.end());
      for (const auto& [words, b] : by_count) {
        const BlockRows& block = blocks[b];
        for_each(block, [&](int64_t number) {
          *offset++ = offset_of[static_cast<size_t>(number)];
          for (int o = 0; o < block_oc; ++o, weights += weight_bytes(Form)) store<Form>(block.word(o, number), weights);
        });
        packed.starts.push_back(static_cast<int32_t>(offset - packed.offsets.data()));
        packed.order.push_back(b);
      }
    }
  }
  packed.group_blocks.push_back(packed.blocks);
}

// The rows of a staged packing: the words (numbered source plane * taps + tap) that any output channel has, cut into chunks.
struct StagedRows {
  std::vector<int32_t> words, rank;  // of all chunks, in order; for each word, its place among them
  int chunk_rows = 0, chunks = 1;
  // Chunk `chunk` has the words from first(chunk) to first(chunk + 1) - 1 of those that are used.
  int64_t first(int chunk) const {
    const auto at = static_cast<size_t>(chunk) * static_cast<size_t>(chunk_rows);
    return at < words.size() ? words[at] : static_cast<int64_t>(rank.size());
  }
};

StagedRows stage_rows(const WeightRows& rows, int planes, int max_rows) {
  const ConvWeights& s = rows.shape();
  std::vector<uint64_t> used(map_words(int64_t{planes} * s.taps));
  StagedRows staged;
  staged.rank.assign(static_cast<size_t>(planes) * static_cast<size_t>(s.taps), 0);
  const int64_t all = int64_t{planes} * s.taps;
  for (int oc = 0; oc < s.oc; ++oc) {
    for_each_word_of(rows, oc, 0, all, [&](int64_t number, const uint8_t*) {
      used[static_cast<size_t>(number / kMapBits)] |= uint64_t{1} << number % kMapBits;
    });
  }
  for_each_one([&](int64_t k) { return used[static_cast<size_t>(k)]; }, 0, all,
               [&](int64_t number) {
                 staged.rank[static_cast<size_t>(number)] = static_cast<int32_t>(staged.words.size());
                 staged.words.push_back(static_cast<int32_t>(number));
               });
  const int count = static_cast<int>(staged.words.size());
  staged.chunks = std::max(1, (count + max_rows - 1) / max_rows);
  staged.chunk_rows = std::max(1, (count + staged.chunks - 1) / staged.chunks);
  return staged;
}

// Pairs of lists: an entry of the one channel, an entry of the other, and so on. The shorter list goes on with the row of zeros
// that follows a chunk's rows.
void pack_pairs(const WeightRows& rows, const StagedRows& staged, int row_elements, PackedBlocks& packed) {
  constexpr int kGroup = group_blocks(1);
  const int channels = rows.shape().oc;
  std::vector<int32_t> offsets;
  std::vector<uint32_t> weights;
  std::vector<std::pair<size_t, int>> lists;  // length, channel
  packed.starts.push_back(0);
  packed.group_blocks.assign(static_cast<size_t>((channels + kGroup - 1) / kGroup) + 1, 0);
  for (int chunk = 0; chunk < staged.chunks; ++chunk) {
    const auto for_each = [&](int oc, const auto& f) {
      if (oc < channels) for_each_word_of(rows, oc, staged.first(chunk), staged.first(chunk + 1), f);
    };
    for (int first = 0; first < channels; first += kGroup) {
      lists.clear();
      for (int oc = first; oc < std::min(first + kGroup, channels); ++oc) {
        size_t words = 0;
        for_each(oc, [&](int64_t, const uint8_t*) { ++words; });
        lists.emplace_back(words, oc);
        packed.group_blocks[static_cast<size_t>(first / kGroup) + 1] += static_cast<int64_t>(words);
      }
      if (lists.size() % 2 != 0) lists.emplace_back(0, channels);  // whose sums nobody reads
      std::sort(lists.begin(), lists.end());
      for (size_t i = 0; i < lists.size(); ++i) {
        if (i % 2 == 0) {
          offsets.resize(offsets.size() + 2 * lists[i + 1].first, staged.chunk_rows * row_elements);
          weights.resize(offsets.size());
          packed.starts.push_back(static_cast<int32_t>(offsets.size()));
        }
        size_t entry = static_cast<size_t>(packed.starts.end()[-2]) + i % 2;
        for_each(lists[i].second, [&](int64_t number, const uint8_t* word) {
          offsets[entry] = (staged.rank[static_cast<size_t>(number)] - chunk * staged.chunk_rows) * row_elements;
          std::memcpy(&weights[entry], word, kWordBytes);
          entry += 2;
        });
        packed.order.push_back(static_cast<uint8_t>(lists[i].second - first));
      }
    }
  }
  for (size_t i = 1; i < packed.group_blocks.size(); ++i) packed.group_blocks[i] += packed.group_blocks[i - 1];
  packed.offsets = AlignedBuffer<int32_t>(offsets.size(), kUninitialized);
  std::copy(offsets.begin(), offsets.end(), packed.offsets.data());
  packed.weights = AlignedBuffer<uint8_t>(weights.size() * kWordBytes, kUninitialized);
  std::copy(weights.begin(), weights.end(), reinterpret_cast<uint32_t*>(packed.weights.data()));
}

// All blocks, with nonzeros or without.
int64_t count_all_blocks(const WeightRows& rows, int block_oc) {
  const ConvWeights& s = rows.shape();
  int64_t count = 0;
  for (int oc = 0; oc < s.oc; oc += block_oc) {
    count += (int64_t{rows.last_plane(std::min(oc + block_oc, s.oc) - 1)} - rows.first_plane(oc)) * s.taps;
  }
  return count;
}

}  // namespace

template <class T>
WeightRows::WeightRows(Span<const T> weights, const ConvWeights& s)
    : shape_(s), plane_channels_(std::is_same_v<T, float> ? 1 : kChannelGroup), nonzero_mask_(~uint32_t{0}) {
  int planes = 0;
  for (int group = 0; group < std::min(s.groups, kChannelGroup); ++group) {  // quads begin alike every four groups
    planes = std::max(planes, last_plane(group * s.group_oc()) - first_plane(group * s.group_oc()));
  }
  row_words_ = static_cast<size_t>(planes) * static_cast<size_t>(s.taps);
  map_words_ = map_words(static_cast<int64_t>(row_words_));
  words_ = reinterpret_cast<const uint8_t*>(weights.data());
  if constexpr (std::is_same_v<T, float>) {
    nonzero_mask_ = 0x7FFFFFFF;
  } else if (s.taps != 1 || s.group_ic() % kChannelGroup != 0) {
    gather_quads(weights);
  }
  maps_.resize(static_cast<size_t>(s.oc) * map_words_);
  for (int oc = 0; oc < s.oc; ++oc) {
    for (size_t k = 0; k < map_words_; ++k) {
      const size_t at = k * kMapBits;
      maps_[static_cast<size_t>(oc) * map_words_ + k] =
          nonzero_bits(words(oc) + at * kWordBytes, static_cast<int>(std::min<size_t>(kMapBits, row_words_ - at)), nonzero_mask_);
    }
  }
}

// [channel][tap] to [quad of channels][tap][channel of the quad].
void WeightRows::gather_quads(Span<const int8_t> weights) {
  quads_.assign(static_cast<size_t>(shape_.oc) * row_words_, 0);
  const int taps = shape_.taps;
  const int8_t* from = weights.data();
  for (int oc = 0; oc < shape_.oc; ++oc) {
    auto* row = reinterpret_cast<int8_t*>(quads_.data() + static_cast<size_t>(oc) * row_words_);
    const int64_t shift = group_start(oc) % kChannelGroup;
    for (int ic = 0; ic < shape_.group_ic(); ++ic) {
      const int64_t channel = shift + ic;
      int8_t* to = row + channel / kChannelGroup * taps * kChannelGroup + channel % kChannelGroup;
      for (int tap = 0; tap < taps; ++tap) to[static_cast<ptrdiff_t>(tap) * kChannelGroup] = *from++;
    }
  }
  words_ = reinterpret_cast<const uint8_t*>(quads_.data());
}

int64_t count_blocks(const WeightRows& rows, int block_oc) {
  int64_t count = 0;
  BlockRows block(rows, block_oc);
  for (int oc = 0; oc < rows.shape().oc; oc += block_oc) {
    block.open(oc);
    for (int64_t k = 0; k < static_cast<int64_t>(map_words(block.last() - block.first())); ++k) {
      count += __builtin_popcountll(block.map(k));
    }
  }
  return count;
}

PackedBlocks pack_blocks(const WeightRows& rows, const StripGeometry& g, int block_oc, WeightForm form, int chunk_planes,
                         bool keep_zeros) {
  PackedBlocks packed;
  packed.blocks = keep_zeros ? count_all_blocks(rows, block_oc) : count_blocks(rows, block_oc);
  const auto blocks = static_cast<size_t>(packed.blocks);
  packed.offsets = AlignedBuffer<int32_t>(blocks, kUninitialized);
  packed.weights = AlignedBuffer<uint8_t>(blocks * static_cast<size_t>(block_oc) * weight_bytes(form), kUninitialized);
  switch (form) {
    case WeightForm::f32:
      pack_stream<WeightForm::f32>(rows, g, block_oc, chunk_planes, keep_zeros, packed);
      break;
    case WeightForm::s8_quad:
      pack_stream<WeightForm::s8_quad>(rows, g, block_oc, chunk_planes, keep_zeros, packed);
      break;
    case WeightForm::s16_quad:
      pack_stream<WeightForm::s16_quad>(rows, g, block_oc, chunk_planes, keep_zeros, packed);
      break;
  }
  return packed;
}

PackedBlocks pack_staged(const WeightRows& rows, const StripGeometry& g, int max_rows, int row_elements) {
  const int taps = rows.shape().taps;
  const StagedRows staged = stage_rows(rows, g.planes, max_rows);
  PackedBlocks packed;
  packed.blocks = count_blocks(rows, 1);
  for (const int32_t number : staged.words)
    packed.rows.push_back(static_cast<int32_t>(number / taps * g.plane + g.tap_offsets[static_cast<size_t>(number % taps)]));
  for (int chunk = 0; chunk <= staged.chunks; ++chunk)
    packed.chunk_rows.push_back(std::min(chunk * staged.chunk_rows, static_cast<int32_t>(staged.words.size())));
  pack_pairs(rows, staged, row_elements, packed);
  return packed;
}

template WeightRows::WeightRows(Span<const float>, const ConvWeights&);
template WeightRows::WeightRows(Span<const int8_t>, const ConvWeights&);

}  // namespace edgelane
