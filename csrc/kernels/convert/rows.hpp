// The inner loops between float32 and int8, one set for each instruction set. Included by files with instruction-set flags:
// nothing inline here.
#pragma once

#include <cstdint>

namespace edgelane {

// From stored bytes to stored bytes: round((x - from_zero) * factor) + to_zero, clamped to a byte.
struct ByteRescale {
  int32_t from_zero, to_zero;
  float factor;
};

struct ConvertRows {
  void (*quantize)(const float* x, uint8_t* y, int64_t n, float scale, int32_t zero_point);
  // Four planes to one plane of quads, n pixels.
  void (*quantize_quads)(const float* const x[4], uint32_t* y, int64_t n, float scale, int32_t zero_point);
  void (*dequantize)(const uint8_t* x, float* y, int64_t n, float scale, int32_t zero_point);
  // Lane `lane` of a plane of quads to a plane.
  void (*dequantize_lane)(const uint32_t* x, int lane, float* y, int64_t n, float scale, int32_t zero_point);
  // Four rows of bytes to a row of quads, n of them, and lane `lane` of quads to a row of bytes.
  void (*interleave)(const uint8_t* const x[4], uint32_t* y, int64_t n);
  void (*extract)(const uint32_t* x, int lane, uint8_t* y, int64_t n);
  void (*rescale)(const uint8_t* x, uint8_t* y, int64_t n, const ByteRescale& rescale);
};

namespace scalar {
extern const ConvertRows convert_rows;
}
namespace avx2 {
extern const ConvertRows convert_rows;
}
namespace avx512 {
extern const ConvertRows convert_rows;
}
namespace neon {
extern const ConvertRows convert_rows;
}

}  // namespace edgelane
