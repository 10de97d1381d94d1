#include "core/sha256.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "core/sha256_blocks.hpp"

namespace edgelane {
namespace {

std::string hex(const std::string& text) {
  const Sha256Digest digest = sha256(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  std::string out;
  for (const uint8_t byte : digest) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

// The examples that NIST publishes for FIPS 180-4.
TEST(Sha256, PublishedExamples) {
  EXPECT_EQ(hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Around the length where the padding needs a second block; expected values from another implementation (Python's hashlib).
TEST(Sha256, PaddingBoundaries) {
  EXPECT_EQ(hex(std::string(55, 'x')), "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  EXPECT_EQ(hex(std::string(56, 'x')), "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
  EXPECT_EQ(hex(std::string(63, 'x')), "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2");
  EXPECT_EQ(hex(std::string(64, 'x')), "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  EXPECT_EQ(hex(std::string(65, 'x')), "9537c5fdf120482f7d58d25e9ed583f52c02b4e304ea814db1633ad565aed7e9");
}

#if defined(__x86_64__)
TEST(Sha256, TheCpusInstructionsAgreeWithPlainCode) {
  if (!cpu_has_sha()) GTEST_SKIP() << "this CPU has no SHA instructions";
  std::string bytes;
  for (size_t i = 0; i < 40 * kSha256BlockBytes + 1; ++i) bytes += static_cast<char>(i * i + 7 * i);
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data()) + 1;  // unaligned
  for (const size_t count : {0, 1, 2, 3, 40}) {
    uint32_t plain[8] = {1, 2, 3, 4, 5, 6, 7, 0xFFFFFFFF}, fast[8];
    std::memcpy(fast, plain, sizeof(plain));
    sha256_blocks_scalar(plain, data, count);
    sha256_blocks_shani(fast, data, count);
    EXPECT_EQ(std::memcmp(plain, fast, sizeof(plain)), 0) << count << " blocks";
  }
}
#endif

}  // namespace
}  // namespace edgelane
