#include "kernels/conv2d/pack.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "formats/bits.hpp"

namespace edgelane {
namespace {

template <class T>
constexpr int kPlaneChannels = sizeof(T) == 1 ? 4 : 1;

// One weight by its place in the source planes: 0 where channel `oc` does not read that channel.
template <class T>
T weight_at(const std::vector<T>& weights, const ConvWeights& s, int oc, int plane, int channel, int tap) {
  if (oc >= s.oc) return T{0};
  const int ic = plane * kPlaneChannels<T> + channel - oc / s.group_oc() * s.group_ic();
  if (ic < 0 || ic >= s.group_ic()) return T{0};
  return weights[(static_cast<size_t>(oc) * s.group_ic() + ic) * s.taps + tap];
}

// The contract of pack_blocks written out one weight at a time.
template <class T>
struct Expected {
  std::vector<int32_t> starts{0}, offsets;
  std::vector<uint8_t> order;
  std::vector<T> weights;  // one block after the other, channels of a quad side by side

  Expected() = default;
  Expected(const std::vector<T>& dense, const ConvWeights& s, const StripGeometry& g, int block_oc, int chunk_planes,
           bool keep_zeros) {
    const int oc_blocks = (s.oc + block_oc - 1) / block_oc, chunks = (g.planes + chunk_planes - 1) / chunk_planes;
    const int size = group_blocks(block_oc);
    for (int group = 0; group < oc_blocks; group += size)
      for (int chunk = 0; chunk < chunks; ++chunk) {
        std::vector<Expected> lists(static_cast<size_t>(std::min(size, oc_blocks - group)));
        for (int b = group; b < std::min(group + size, oc_blocks); ++b) {
          Expected& list = lists[static_cast<size_t>(b - group)];
          list.order = {static_cast<uint8_t>(b - group)};
          const int last_oc = std::min((b + 1) * block_oc, s.oc) - 1;
          for (int plane = chunk * chunk_planes; plane < std::min((chunk + 1) * chunk_planes, g.planes); ++plane) {
            const int first = b * block_oc / s.group_oc() * s.group_ic() / kPlaneChannels<T>;
            const int last = ((last_oc / s.group_oc() + 1) * s.group_ic() - 1) / kPlaneChannels<T>;
            if (plane < first || plane > last) continue;
            for (int tap = 0; tap < s.taps; ++tap) list.add_block(dense, s, g, b * block_oc, block_oc, plane, tap, keep_zeros);
          }
        }
        std::stable_sort(lists.begin(), lists.end(),
                         [](const Expected& a, const Expected& b) { return a.offsets.size() < b.offsets.size(); });
        for (const Expected& list : lists) {
          offsets.insert(offsets.end(), list.offsets.begin(), list.offsets.end());
          weights.insert(weights.end(), list.weights.begin(), list.weights.end());
          order.push_back(list.order[0]);
          starts.push_back(static_cast<int32_t>(offsets.size()));
        }
      }
  }

  void add_block(const std::vector<T>& dense, const ConvWeights& s, const StripGeometry& g, int oc, int block_oc, int plane,
                 int tap, bool keep_zeros) {
    std::vector<T> block;
    bool nonzero = false;
    for (int o = 0; o < block_oc; ++o)
      for (int c = 0; c < kPlaneChannels<T>; ++c) {
        block.push_back(weight_at(dense, s, oc + o, plane, c, tap));
        nonzero |= block.back() != T{0};
      }
    if (!nonzero && !keep_zeros) return;
    offsets.push_back(static_cast<int32_t>(plane * g.plane + g.tap_offsets[static_cast<size_t>(tap)]));
    weights.insert(weights.end(), block.begin(), block.end());
  }
};

StripGeometry geometry_of(int planes, int taps) {
  StripGeometry g;
  g.planes = planes;
  g.plane = 1008;
  for (int tap = 0; tap < taps; ++tap) g.tap_offsets.push_back(31 * tap - 17);
  return g;
}

template <class T>
std::vector<T> random_weights(const ConvWeights& s, double share) {
  std::mt19937 random(5);
  std::uniform_int_distribution<int> value(-128, 127);
  std::bernoulli_distribution keep(share);
  std::vector<T> weights;
  for (int64_t i = 0; i < int64_t{s.oc} * s.group_ic() * s.taps; ++i) {
    // A zero has either sign in floats, and neither is a nonzero.
    weights.push_back(keep(random) ? static_cast<T>(value(random)) : static_cast<T>(i % 2 == 0 ? 0.0 : -0.0));
  }
  return weights;
}

template <class T>
std::vector<T> unpacked(const PackedBlocks& packed, WeightForm form) {
  const size_t count = packed.weights.bytes() / weight_bytes(form) * kPlaneChannels<T>;
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (form == WeightForm::s16_quad) {
      constexpr size_t kPlace[4] = {0, 2, 1, 3};  // of the quad's channels among its words
      int16_t word;
      std::memcpy(&word, packed.weights.data() + (i / 4 * 4 + kPlace[i % 4]) * sizeof word, sizeof word);
      values[i] = static_cast<T>(word);
    } else {
      std::memcpy(&values[i], packed.weights.data() + i * sizeof(T), sizeof(T));
    }
  }
  return values;
}

template <class T>
void compare(const ConvWeights& s, const std::vector<T>& weights, const std::vector<WeightForm>& forms) {
  const WeightRows rows(Span<const T>(weights), s);
  const int planes = (s.ic + kPlaneChannels<T> - 1) / kPlaneChannels<T>;
  const StripGeometry g = geometry_of(planes, s.taps);
  for (const int block_oc : {1, 3, 4, 8, 64})
    for (const int chunk_planes : {1, 2, 7, planes})
      for (const bool keep_zeros : {false, true}) {
        SCOPED_TRACE(std::to_string(s.oc) + " x " + std::to_string(s.ic) + " / " + std::to_string(s.groups) + " x " +
                     std::to_string(s.taps) + ", blocks of " + std::to_string(block_oc) + ", chunks of " +
                     std::to_string(chunk_planes) + (keep_zeros ? ", with zeros" : ""));
        const Expected<T> expected(weights, s, g, block_oc, chunk_planes, keep_zeros);
        if (!keep_zeros) {
          EXPECT_EQ(count_blocks(rows, block_oc), static_cast<int64_t>(expected.offsets.size()));
        }
        for (const WeightForm form : forms) {
          const PackedBlocks packed = pack_blocks(rows, g, block_oc, form, chunk_planes, keep_zeros);
          EXPECT_EQ(packed.blocks, static_cast<int64_t>(expected.offsets.size()));
          EXPECT_EQ(packed.starts, expected.starts);
          EXPECT_EQ(packed.order, expected.order);
          EXPECT_EQ(std::vector<int32_t>(packed.offsets.data(), packed.offsets.data() + packed.offsets.size()), expected.offsets);
          EXPECT_EQ(unpacked<T>(packed, form), expected.weights);
        }
      }
}

// Ones and primes, rows of more than one word of the map, groups that end within a block and within a quad, depthwise.
constexpr ConvWeights kShapes[] = {{1, 1, 1, 1},   {5, 7, 1, 1},   {13, 70, 1, 1}, {8, 8, 1, 9},    {17, 23, 1, 9},
                                   {70, 64, 1, 1}, {12, 12, 3, 9}, {10, 15, 5, 4}, {6, 6, 6, 9},    {32, 32, 32, 25},
                                   {21, 14, 7, 3}, {9, 90, 3, 5},  {64, 8, 2, 1},  {130, 65, 65, 2}};

TEST(Pack, Float32) {
  for (const ConvWeights& s : kShapes)
    for (const double share : {0.0, 0.03, 0.4, 1.0}) compare(s, random_weights<float>(s, share), {WeightForm::f32});
}

TEST(Pack, Int8) {
  for (const ConvWeights& s : kShapes)
    for (const double share : {0.0, 0.03, 0.4, 1.0}) {
      compare(s, random_weights<int8_t>(s, share), {WeightForm::s8_quad, WeightForm::s16_quad});
    }
}

// Every nonzero weight once, in the list of its output channel and at the row of its plane and tap; every other entry is zero
// times the row of zeros.
void compare_staged(const ConvWeights& s, const std::vector<float>& weights, int max_rows) {
  SCOPED_TRACE(std::to_string(s.oc) + " x " + std::to_string(s.ic) + " / " + std::to_string(s.groups) + " x " +
               std::to_string(s.taps) + ", at most " + std::to_string(max_rows) + " rows");
  constexpr int kRowElements = 48, kGroup = group_blocks(1);
  const StripGeometry g = geometry_of(s.ic, s.taps);
  const PackedBlocks packed = pack_staged(WeightRows(Span<const float>(weights), s), g, max_rows, kRowElements);
  const int chunks = static_cast<int>(packed.chunk_rows.size()) - 1, pairs = (s.oc + 1) / 2;
  ASSERT_GE(chunks, 1);
  ASSERT_EQ(packed.starts.size(), static_cast<size_t>(chunks) * pairs + 1);
  ASSERT_EQ(packed.order.size(), static_cast<size_t>(chunks) * pairs * 2);
  std::map<std::pair<int, int32_t>, float> expected, found;  // by channel and source offset
  std::vector<int64_t> before(static_cast<size_t>((s.oc + kGroup - 1) / kGroup) + 1, 0);
  for (int oc = 0; oc < s.oc; ++oc)
    for (int plane = 0; plane < s.ic; ++plane)
      for (int tap = 0; tap < s.taps; ++tap) {
        const float weight = weight_at(weights, s, oc, plane, 0, tap);
        if (weight == 0.0f) continue;
        expected[{oc, static_cast<int32_t>(plane * g.plane + g.tap_offsets[static_cast<size_t>(tap)])}] = weight;
        for (size_t group = static_cast<size_t>(oc / kGroup) + 1; group < before.size(); ++group) ++before[group];
      }
  const float* const stored = reinterpret_cast<const float*>(packed.weights.data());
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int32_t rows = packed.chunk_rows[static_cast<size_t>(chunk) + 1] - packed.chunk_rows[static_cast<size_t>(chunk)];
    EXPECT_LE(rows, std::min(max_rows, packed.chunk_rows[1]));
    for (int pair = 0; pair < pairs; ++pair) {
      const size_t list = static_cast<size_t>(chunk) * pairs + pair;
      const int first = pair / (kGroup / 2) * kGroup;
      for (int32_t entry = packed.starts[list]; entry < packed.starts[list + 1]; ++entry) {
        const int oc = first + packed.order[2 * list + static_cast<size_t>(entry - packed.starts[list]) % 2];
        const int32_t offset = packed.offsets.data()[entry];
        ASSERT_EQ(offset % kRowElements, 0);
        if (stored[entry] == 0.0f) {
          EXPECT_EQ(offset / kRowElements, packed.chunk_rows[1]);
          continue;
        }
        ASSERT_LT(offset / kRowElements, rows);
        const size_t row = static_cast<size_t>(packed.chunk_rows[static_cast<size_t>(chunk)] + offset / kRowElements);
        EXPECT_TRUE(found.emplace(std::make_pair(oc, packed.rows[row]), stored[entry]).second);
      }
      EXPECT_EQ((packed.starts[list + 1] - packed.starts[list]) % 2, 0);
    }
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(packed.blocks, static_cast<int64_t>(expected.size()));
  EXPECT_EQ(packed.group_blocks, before);
  std::set<int32_t> used;
  for (const auto& weight : expected) used.insert(weight.first.second);
  EXPECT_EQ(std::set<int32_t>(packed.rows.begin(), packed.rows.end()), used);
  EXPECT_EQ(packed.rows.size(), used.size());
}

TEST(Pack, Staged) {
  for (const ConvWeights& s : kShapes)
    for (const double share : {0.0, 0.03, 0.4, 1.0})
      for (const int max_rows : {1, 5, 64, s.ic * s.taps}) compare_staged(s, random_weights<float>(s, share), max_rows);
}

TEST(Pack, NaNIsNoZero) {
  const ConvWeights s{2, 3, 1, 1};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> weights = {0.0f, nan, -0.0f, 0.0f, -0.0f, -nan};
  const WeightRows rows(Span<const float>(weights), s);
  EXPECT_EQ(count_blocks(rows, 1), 2);
  EXPECT_EQ(count_blocks(rows, 4), 2);
  const PackedBlocks packed = pack_blocks(rows, geometry_of(3, 1), 1, WeightForm::f32, 3, false);
  for (const float value : unpacked<float>(packed, WeightForm::f32)) EXPECT_TRUE(std::isnan(value));
}

TEST(Bits, RangesOfAMap) {
  const std::vector<uint64_t> map = {0x8000000000000001u, 0, ~uint64_t{0}};
  for (int64_t begin = 0; begin <= 192; ++begin)
    for (int64_t end = begin; end <= 192; end += 7) {
      std::vector<int64_t> found, expected;
      for_each_one([&](int64_t k) { return map.at(static_cast<size_t>(k)); }, begin, end, [&](int64_t i) { found.push_back(i); });
      for (int64_t i = begin; i < end; ++i) {
        if ((map[static_cast<size_t>(i / 64)] >> (i % 64) & 1) != 0) expected.push_back(i);
      }
      ASSERT_EQ(found, expected) << begin << " to " << end;
    }
}

}  // namespace
}  // namespace edgelane
