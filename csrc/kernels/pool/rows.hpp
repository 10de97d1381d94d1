// The inner loops of pooling, one set for each instruction set: one row of output pixels. Included by files with instruction-set
// flags: nothing inline here.
#pragma once

#include <cstdint>

namespace edgelane {

// The input pixels that one row of output pixels covers.
struct PoolRow {
  const void* first;  // pixel 0 of the first input row inside the image (float32, or int8 quads)
  int64_t row_step;   // pixels from one covered row to the next
  int rows;           // covered rows inside the image; may be 0
  int width;          // pixels of an input row
  int out_width, kernel_w, stride_w, dilation_w, pad_left;
};

// Window columns of one tile fit into scratch lines of this many pixels; prepare_pool refuses wider windows.
constexpr int kPoolLine = 4096;
// Pixels of an int8 window whose sum of stored values fits in int32.
constexpr int kPoolMaxSummed = INT32_MAX / 255;

// How many elements of a window are counted: columns[x] * rows. Both are whole numbers below 2^24, so that their product is
// rounded once.
struct PoolCounts {
  const float* columns;  // by output column
  float rows;
};

struct PoolRows {
  void (*max_f32)(const PoolRow& row, float* y);
  void (*max_s8)(const PoolRow& row, uint32_t* y);
  // y = sum of the window / its count
  void (*average_f32)(const PoolRow& row, PoolCounts counts, float* y);
  void (*average_s8)(const PoolRow& row, PoolCounts counts, float in_scale, int32_t in_zero_point, float out_scale,
                     int32_t out_zero_point, uint8_t* y);
  float (*sum_f32)(const float* x, int64_t n);
  void (*sum_s8)(const uint8_t* quads, int64_t n, int64_t sums[4]);  // n quads, stored values
};

namespace scalar {
extern const PoolRows pool_rows;
}
namespace avx2 {
extern const PoolRows pool_rows;
}
namespace avx512 {
extern const PoolRows pool_rows;
}
namespace neon {
extern const PoolRows pool_rows;
}

}  // namespace edgelane
