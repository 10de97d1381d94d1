// The functions of the reduce step; numbers as in export/FORMAT.md. Included by files with instruction-set flags too.
#pragma once

#include <cstdint>

namespace edgelane {

enum class Reduction : uint8_t { mean = 0, sum, max, min, product, l1, l2, log_sum, log_sum_exp, sum_square };
constexpr int kReductions = 10;

}  // namespace edgelane
