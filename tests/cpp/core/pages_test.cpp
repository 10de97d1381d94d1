#include "core/pages.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace edgelane {
namespace {

TEST(Pages, AreAlignedZeroedAndTheCallers) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, kLargePageBytes - 1, kLargePageBytes, 3 * kLargePageBytes + 5}) {
    auto* data = static_cast<uint8_t*>(map_pages(bytes));
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kLargePageBytes, 0u);
    for (size_t i = 0; i < bytes; i += 1021) ASSERT_EQ(data[i], 0);
    data[0] = 1;
    data[bytes - 1] = 2;
    unmap_pages(data, bytes);
  }
  EXPECT_EQ(map_pages(std::numeric_limits<size_t>::max()), nullptr);
  EXPECT_EQ(map_pages(std::numeric_limits<size_t>::max() / 2), nullptr);
}

// What shares its page with bytes outside of the range stays as it is.
TEST(Pages, DiscardsWholePagesOnly) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t bytes = 8 * page;
  auto* data = static_cast<uint8_t*>(map_pages(bytes));
  ASSERT_NE(data, nullptr);
  for (size_t i = 0; i < bytes; ++i) data[i] = 7;
  discard_pages(data + page / 2, page / 4);  // no whole page
  discard_pages(data + page, 0);
  for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 7) << i;
  discard_pages(data + page + 1, 4 * page);  // pages 2 to 4
  for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], i / page >= 2 && i / page <= 4 ? 0 : 7) << i;
  unmap_pages(data, bytes);
}

}  // namespace
}  // namespace edgelane
