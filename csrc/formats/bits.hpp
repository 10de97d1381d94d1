// Maps of bits: bit i is bit i % 64 of word i / 64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgelane {

constexpr int kMapBits = 64;  // of a word

constexpr size_t map_words(int64_t bits) { return static_cast<size_t>((bits + kMapBits - 1) / kMapBits); }

// The bits of word `word` that lie in [begin, end).
inline uint64_t bits_between(int64_t word, int64_t begin, int64_t end) {
  const int64_t first = word * kMapBits;
  uint64_t mask = ~uint64_t{0};
  if (begin > first) mask &= begin - first < kMapBits ? ~uint64_t{0} << (begin - first) : 0;
  if (end < first + kMapBits) mask &= end > first ? ~uint64_t{0} >> (first + kMapBits - end) : 0;
  return mask;
}

// Calls f(i) for every bit i of [begin, end) that is one, in order. `word(k)` is word k of the map.
template <class Word, class F>
void for_each_one(const Word& word, int64_t begin, int64_t end, const F& f) {
  for (int64_t k = begin / kMapBits; k * kMapBits < end; ++k) {
    uint64_t ones = word(k) & bits_between(k, begin, end);
    for (; ones != 0; ones &= ones - 1) f(k * kMapBits + __builtin_ctzll(ones));
  }
}

// The map of up to 64 words that are not zero once `mask` has been applied, word 0 in the lowest bit.
inline uint64_t nonzero_bits(const uint8_t* words, int count, uint32_t mask) {
  uint8_t flags[kMapBits] = {};  // bytes first, which compilers turn into vector comparisons
  for (int i = 0; i < count; ++i) {
    uint32_t word;
    std::memcpy(&word, words + static_cast<size_t>(i) * sizeof word, sizeof word);
    flags[i] = (word & mask) != 0;
  }
  uint64_t bits = 0;
  for (int i = 0; i < kMapBits; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, flags + i, sizeof eight);
    // Byte k is 0 or 1; the product gathers the eight of them in its highest byte, byte 0 in the lowest bit.
    bits |= (eight * 0x0102040810204080u >> 56) << i;
  }
  return bits;
}

}  // namespace edgelane
