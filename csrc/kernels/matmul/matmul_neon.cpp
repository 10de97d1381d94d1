// Matrix products: Advanced SIMD, multiply-adds by element.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/matmul/tile.hpp"

namespace edgelane {
namespace {

struct NeonF32Matmul : F32Matmul<VecF32Neon> {
  using Input = float32x2_t;
  static EDGELANE_INLINE Input broadcast(const float* p) { return load_scalar(reinterpret_cast<const uint8_t*>(p)); }
  static EDGELANE_INLINE Vec multiply_add(Vec acc, Input a, Vec b) { return {vfmaq_lane_f32(acc.v, b.v, a, 0)}; }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_WORDS VecI32Neon
#define EDGELANE_PATH_f32 NeonF32Matmul
#define EDGELANE_PATH_s32 S32Matmul<VecI32Neon>
#define EDGELANE_LINE_f32_neon EDGELANE_DEFINE_MATMUL
#define EDGELANE_LINE_s32_neon EDGELANE_DEFINE_MATMUL
#include "kernels/matmul/kernel_lines.hpp"
