// The functions of the binary step; numbers as in export/FORMAT.md. Included by files with instruction-set flags too.
#pragma once

#include <cstdint>

namespace edgelane {

enum class BinaryFunction : uint8_t {
  add = 0,
  sub,
  mul,
  div,
  max,
  min,
  pow,
  mod,   // the remainder has the divisor's sign
  fmod,  // the remainder has the dividend's sign
  equal,
  less,
  less_or_equal,
  logical_and,
  logical_or,
  logical_xor,
  bit_and,
  bit_or,
  bit_xor,
  shift_left,
  shift_right,
  prelu,  // a < 0 ? a * b : a
};
constexpr int kBinaryFunctions = 21;

}  // namespace edgelane
