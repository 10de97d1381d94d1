// Numbers as unsigned ones in the same order, so that a value and a place make one key. Not for files with instruction-set flags.
#pragma once

#include <cstdint>
#include <cstring>

namespace edgelane {

// Zeros of either sign are equal, NaN is the largest.
inline uint32_t ordered(float x) {
  if (!(x == x)) return UINT32_MAX;
  uint32_t bits = 0;
  if (x != 0.0f) std::memcpy(&bits, &x, sizeof bits);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
inline uint32_t ordered(int32_t x) { return static_cast<uint32_t>(x) ^ 0x80000000u; }
inline uint64_t ordered(int64_t x) { return static_cast<uint64_t>(x) ^ (uint64_t{1} << 63); }

}  // namespace edgelane
