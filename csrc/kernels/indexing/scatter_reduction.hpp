// What becomes of an element that a scatter step hits; numbers as in export/FORMAT.md.
#pragma once

#include <cstdint>

namespace edgelane {

enum class ScatterReduction : uint8_t { none = 0, add, mul, max, min };
constexpr int kScatterReductions = 5;

}  // namespace edgelane
