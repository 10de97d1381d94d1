// The functions of the binary step; numbers as in export/FORMAT.md. Included by files with instruction-set flags too.
#pragma once

#include <cstdint>

namespace edgelane {

enum class BinaryFunction : uint8_t { add = 0, sub, mul, div, max, min, pow };
constexpr int kBinaryFunctions = 7;

}  // namespace edgelane
