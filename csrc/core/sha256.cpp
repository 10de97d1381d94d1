#include "core/sha256.hpp"

#include <cstring>

#include "core/sha256_blocks.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace edgelane {
namespace {

// The fractional parts of the square roots of the first eight primes (FIPS 180-4, section 5.3.3).
constexpr uint32_t kStart[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

inline uint32_t rotate_right(uint32_t x, int n) { return x >> n | x << (32 - n); }

inline uint32_t load_big_endian(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) << 24 | static_cast<uint32_t>(p[1]) << 16 | static_cast<uint32_t>(p[2]) << 8 | p[3];
}

void add_block(uint32_t* state, const uint8_t* block) {
  uint32_t w[64];
  for (int i = 0; i < 16; ++i) w[i] = load_big_endian(block + 4 * i);
  for (int i = 16; i < 64; ++i) {
    const uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; ++i) {
    const uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kSha256Round[i] + w[i];
    const uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

}  // namespace

void sha256_blocks_scalar(uint32_t* state, const uint8_t* blocks, size_t count) noexcept {
  for (size_t i = 0; i < count; ++i) add_block(state, blocks + i * kSha256BlockBytes);
}

#if defined(__x86_64__)
bool cpu_has_sha() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool sse41 = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_1) != 0 && (c & bit_SSSE3) != 0;
  return sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}
#endif

Sha256Blocks sha256_blocks() noexcept {
#if defined(__x86_64__)
  static const Sha256Blocks chosen = cpu_has_sha() ? sha256_blocks_shani : sha256_blocks_scalar;
  return chosen;
#else
  return sha256_blocks_scalar;
#endif
}

Sha256Digest sha256(const uint8_t* data, size_t size) noexcept {
  uint32_t state[8];
  std::memcpy(state, kStart, sizeof(state));
  const size_t whole = size / kSha256BlockBytes * kSha256BlockBytes;
  const Sha256Blocks add_blocks = sha256_blocks();
  add_blocks(state, data, whole / kSha256BlockBytes);

  // The rest, a one bit, zeros, and the length in bits as a big-endian 64-bit number: one block or two.
  uint8_t tail[2 * kSha256BlockBytes] = {};
  const size_t rest = size - whole;
  if (rest != 0) std::memcpy(tail, data + whole, rest);
  tail[rest] = 0x80;
  const size_t tail_bytes = rest + 1 + 8 <= kSha256BlockBytes ? kSha256BlockBytes : 2 * kSha256BlockBytes;
  const uint64_t bits = static_cast<uint64_t>(size) * 8;
  for (size_t i = 0; i < 8; ++i) tail[tail_bytes - 1 - i] = static_cast<uint8_t>(bits >> (8 * i));
  add_blocks(state, tail, tail_bytes / kSha256BlockBytes);

  Sha256Digest digest;
  for (size_t i = 0; i < 8; ++i) {
    for (size_t j = 0; j < 4; ++j) digest[4 * i + j] = static_cast<uint8_t>(state[i] >> (24 - 8 * j));
  }
  return digest;
}

}  // namespace edgelane
