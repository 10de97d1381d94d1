// The one definition of int8 arithmetic, for the reference kernels, the optimised ones and the tests.
#pragma once

#include <cmath>
#include <cstdint>

namespace edgelane {

// real = scale * (q - zero_point), q in [-128, 127].
struct QuantParams {
  float scale = 1.0f;
  int32_t zero_point = 0;
};

// To nearest, halves to even (the default rounding mode), saturated to int8. NaN becomes the zero point.
inline int8_t quantize(float real, QuantParams p) {
  const float v = std::nearbyintf(real / p.scale) + static_cast<float>(p.zero_point);
  if (!(v >= -128.0f)) return v < -128.0f ? int8_t{-128} : static_cast<int8_t>(p.zero_point);
  return v > 127.0f ? int8_t{127} : static_cast<int8_t>(v);
}

inline float dequantize(int8_t q, QuantParams p) { return p.scale * static_cast<float>(static_cast<int32_t>(q) - p.zero_point); }

}  // namespace edgelane
