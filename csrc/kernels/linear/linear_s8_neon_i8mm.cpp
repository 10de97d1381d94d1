// int8 linear layers: USMMLA, which multiplies two rows of eight inputs by two channels of eight weights.
//
// A USMMLA does twice the work of a USDOT for as many loads, so a tile has half the instructions. The second row of an odd last
// pair is the first one again: what that costs, USDOT would cost as well.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

struct MmlaPath {
  using Float = VecF32Neon;
  using Acc = VecI32Neon;
  static constexpr bool kInt8 = true;
  static constexpr int kInputBias = kActivationBias;
  static constexpr int kStepBytes = 8;
};

template <int Rows, int Vectors>
struct GemmTile<MmlaPath, Rows, Vectors> {
  static constexpr int kPairs = (Rows + 1) / 2, kColumns = 2 * Vectors;  // pairs of rows, and of channels
  static constexpr int kLanes = VecF32Neon::width;
  static constexpr int kRegisterBytes = 16;

  static void run(const LinearArgs& a, int tile, int row) {
    const uint8_t* x = a.x + row * a.x_row_bytes;
    const uint8_t* w = a.weights + static_cast<int64_t>(tile) * a.depth * kColumns * kRegisterBytes;
    int32x4_t acc[kPairs][kColumns];  // row 0 channel 0, row 0 channel 1, row 1 channel 0, row 1 channel 1
#pragma GCC unroll 16
    for (int p = 0; p < kPairs; ++p)
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) acc[p][c] = vdupq_n_s32(0);
    for (int k = 0; k < a.depth; ++k, x += MmlaPath::kStepBytes, w += kColumns * kRegisterBytes) {
      int8x16_t weights[kColumns];
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) weights[c] = vreinterpretq_s8_u8(vld1q_u8(w + c * kRegisterBytes));
#pragma GCC unroll 16
      for (int p = 0; p < kPairs; ++p) {
        const uint8_t* first = x + 2 * p * a.x_row_bytes;
        const uint8x16_t in = vcombine_u8(vld1_u8(first), vld1_u8(2 * p + 1 < Rows ? first + a.x_row_bytes : first));
#pragma GCC unroll 16
        for (int c = 0; c < kColumns; ++c) acc[p][c] = vusmmlaq_s32(acc[p][c], in, weights[c]);
      }
    }
#pragma GCC unroll 16
    for (int p = 0; p < kPairs; ++p)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) {
        const int64x2_t low = vreinterpretq_s64_s32(acc[p][2 * v]), high = vreinterpretq_s64_s32(acc[p][2 * v + 1]);
        const int oc = (tile * Vectors + v) * kLanes;
        finish_row<MmlaPath>(a, {vreinterpretq_s32_s64(vtrn1q_s64(low, high))}, row + 2 * p, oc);
        if (2 * p + 1 < Rows) finish_row<MmlaPath>(a, {vreinterpretq_s32_s64(vtrn2q_s64(low, high))}, row + 2 * p + 1, oc);
      }
  }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH MmlaPath
#define EDGELANE_LINE_linear_s8_neon_i8mm EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
