#include "core/aligned_buffer.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

namespace edgelane {
namespace {

TEST(AlignedBuffer, IsAlignedAndZeroed) {
  for (const size_t count : {1, 15, 16, 17, 1000, 524287, 524288, 524289}) {  // up to a large page, and more
    const AlignedBuffer<int32_t> buffer(count);
    EXPECT_EQ(buffer.size(), count);
    EXPECT_EQ(buffer.bytes(), 4 * count);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kAlignment, 0u);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(buffer[i], 0);
  }
  EXPECT_EQ(AlignedBuffer<int32_t>(0).data(), nullptr);
}

TEST(AlignedBuffer, MovesWithItsMemory) {
  for (const size_t count : {100, 1 << 20}) {
    AlignedBuffer<int32_t> from(count, kUninitialized);
    for (size_t i = 0; i < count; ++i) from[i] = static_cast<int32_t>(i);
    AlignedBuffer<int32_t> to(3);
    to = std::move(from);
    ASSERT_EQ(to.size(), count);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(to[i], static_cast<int32_t>(i));
  }
}

// Sizes that wrap around to small ones when they become bytes, or when those are rounded up.
TEST(AlignedBuffer, RefusesSizesThatWrapAround) {
  constexpr size_t kMax = std::numeric_limits<size_t>::max();
  for (const size_t count : {kMax, kMax - 63, kMax / 4 + 1, kMax / 4 + 17}) {
    try {
      const AlignedBuffer<int32_t> buffer(count);
      ADD_FAILURE() << count << " elements at " << buffer.data();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::out_of_memory);
    }
  }
  EXPECT_THROW(AlignedBuffer<uint8_t>{kMax}, Error);
}

}  // namespace
}  // namespace edgelane
