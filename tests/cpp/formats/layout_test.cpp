#include "formats/layout.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "formats/tensor.hpp"
#include "kernels/border.hpp"
#include "kernels/offsets.hpp"

namespace edgelane {
namespace {

TEST(DType, NamesAndSizes) {
  const std::pair<const char*, size_t> expected[] = {{"float32", 4}, {"int8", 1}, {"int32", 4},
                                                     {"int64", 8},   {"bool", 1}, {"uint8", 1}};
  for (int i = 0; i < 6; ++i) {
    EXPECT_STREQ(dtype_name(static_cast<DType>(i)), expected[i].first);
    EXPECT_EQ(dtype_bytes(static_cast<DType>(i)), expected[i].second);
  }
  EXPECT_STREQ(dtype_name(static_cast<DType>(6)), "unknown");
  EXPECT_EQ(dtype_bytes(static_cast<DType>(6)), 0u);
}

constexpr Border kBorders[] = {{}, {1, 1, 1, 1}, {0, 3, 0, 0}, {2, 0, 0, 1}, {3, 1, 2, 4}};
constexpr int kSizes[][2] = {{1, 1}, {1, 17}, {15, 15}, {16, 16}, {7, 33}, {31, 1}};

TEST(PlanarLayout, EveryTapStaysInsideThePlane) {
  for (const Border& b : kBorders) {
    for (const auto& s : kSizes) {
      const PlanarLayout l(1, 3, s[0], s[1], b);
      EXPECT_EQ(l.origin % kPlaneAlign, 0);
      EXPECT_EQ(l.plane / kPlaneAlign % 2, 1);
      EXPECT_EQ(l.plane % kPlaneAlign, 0);
      EXPECT_GE(l.index(-b.top, -b.left), 0);
      EXPECT_LT(l.index(l.height - 1 + b.bottom, l.width - 1 + b.right), l.plane);
    }
  }
}

// Every element has a place of its own inside the tensor, and the fill functions leave exactly those places alone.
TEST(Border, FillsEverythingButTheElements) {
  for (const Border& b : kBorders) {
    for (const auto& s : kSizes) {
      for (const DType dtype : {DType::float32, DType::int8}) {
        TensorDesc t;
        t.dtype = dtype;
        t.rank = 4;
        t.quant = {0.1f, -3};
        const int dims[4] = {2, 5, s[0], s[1]};
        std::copy(dims, dims + 4, t.dims);
        t.layout = PlanarLayout(2, 5, s[0], s[1], b);
        std::vector<uint8_t> bytes(t.bytes(), 0xa5);
        fill_borders(bytes.data(), t);
        const size_t element = dtype_bytes(dtype);
        const ElementOffsets offsets(t);
        std::set<int64_t> places;
        int i[kMaxRank] = {};
        do {
          const int64_t at = offsets(i, 4);
          EXPECT_TRUE(places.insert(at).second);
          for (size_t k = 0; k < element; ++k) ASSERT_EQ(bytes.at(at * element + k), 0xa5);
        } while (next_index(i, t.dims, 4));
        const uint8_t filled = dtype == DType::int8 ? 125 : 0;
        for (size_t k = 0; k < bytes.size(); ++k) {
          if (places.count(static_cast<int64_t>(k / element)) != 0) continue;
          ASSERT_EQ(bytes[k], filled) << "byte " << k;
        }
      }
    }
  }
}

}  // namespace
}  // namespace edgelane
