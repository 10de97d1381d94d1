#include "formats/block_sparse.hpp"

#include <gtest/gtest.h>

#include <random>

namespace edgelane {
namespace {

// The file's encoding (export/FORMAT.md), written down a second time.
template <class T>
void encode(const std::vector<T>& dense, WeightShape s, int block_oc, int block_ic, std::vector<uint8_t>& mask,
            std::vector<T>& blocks) {
  size_t bit = 0;
  for (int ob = 0; ob * block_oc < s.oc; ++ob)
    for (int tap = 0; tap < s.taps; ++tap)
      for (int ib = 0; ib * block_ic < s.ic; ++ib, ++bit) {
        std::vector<T> block;
        bool any = false;
        for (int o = ob * block_oc; o < (ob + 1) * block_oc; ++o)
          for (int i = ib * block_ic; i < (ib + 1) * block_ic; ++i) {
            const bool inside = o < s.oc && i < s.ic;
            block.push_back(inside ? dense[(static_cast<size_t>(o) * s.ic + i) * s.taps + tap] : T{0});
            any |= block.back() != T{0};
          }
        if (bit % 8 == 0) mask.push_back(0);
        if (!any) continue;
        mask.back() = static_cast<uint8_t>(mask.back() | 1u << (bit % 8));
        blocks.insert(blocks.end(), block.begin(), block.end());
      }
  mask.resize((mask.size() + 7) / 8 * 8);
}

template <class T>
std::vector<T> random_weights(WeightShape s, double share) {
  std::mt19937 random(11);
  std::uniform_int_distribution<int> value(-128, 127);
  std::bernoulli_distribution keep(share);
  std::vector<T> dense;
  for (int64_t i = 0; i < s.count(); ++i) dense.push_back(keep(random) ? static_cast<T>(value(random)) : T{0});
  return dense;
}

template <class T>
void round_trip() {
  for (const WeightShape& s : {WeightShape{1, 1, 1}, {4, 4, 1}, {8, 8, 9}, {5, 7, 9}, {13, 3, 25}, {64, 17, 1}})
    for (int block_oc : {1, 4, 64})
      for (int block_ic : {1, 4, 3})
        for (double share : {0.0, 0.05, 0.5, 1.0}) {
          const std::vector<T> dense = random_weights<T>(s, share);
          std::vector<uint8_t> mask;
          std::vector<T> blocks;
          encode(dense, s, block_oc, block_ic, mask, blocks);
          EXPECT_EQ(expand_blocks(mask.data(), blocks.data(), s, block_oc, block_ic), dense)
              << s.oc << " x " << s.ic << " x " << s.taps << " in " << block_oc << " x " << block_ic;
        }
}

TEST(BlockSparse, ExpandsWhatTheFileEncodes) {
  round_trip<float>();
  round_trip<int8_t>();
}

TEST(BlockSparse, DensityCountsNonzeros) {
  const float weights[] = {0.0f, 1.0f, -0.0f, 2.0f};
  EXPECT_DOUBLE_EQ(density(Span<const float>(weights)), 0.5);
  EXPECT_DOUBLE_EQ(density(Span<const int8_t>()), 0.0);
}

}  // namespace
}  // namespace edgelane
