// The one rule by which an answer agrees with a golden frame's: of self-tests, and of `edgelane compile` against ONNX Runtime.
#pragma once

#include "runtime/session.hpp"

namespace edgelane {

// Rules same and close: the largest difference of float32, relative to the largest expected magnitude (absolute where that is 0).
constexpr double kFloatTolerance = 1e-4;
// The share of integers that may differ: none by rule same; by rule close those that lie on a threshold of a float32.
constexpr double kCloseShare = 1e-3;
// Rule rounded: the norm of the difference relative to that of the expected output, or the share of integers that may differ. Two
// right answers were up to 0.093 apart (torchvision's ResNet-18, MobileNet-V2 and V3, EfficientNet-B0 and LR-ASPP in int8, random
// weights, 5 inputs of 96x96 each, ONNX Runtime against AVX-512 VNNI, 2026-11-28); wrong scales, residuals or channels move an
// output by its own size.
constexpr double kRoundedTolerance = 0.2;

// `expected` and `found`: TensorSpec::bytes bytes each, at any address. NaN and infinity agree with themselves only.
GoldenRow compare_output(const TensorSpec& spec, GoldenRule rule, const uint8_t* expected, const uint8_t* found);

}  // namespace edgelane
