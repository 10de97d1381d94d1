// float32 linear layers: Advanced SIMD, multiply-adds by element.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

struct NeonLinear : F32Linear<VecF32Neon> {
  using Input = float32x2_t;
  static EDGELANE_INLINE Input broadcast(const uint8_t* p) { return load_scalar(p); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return {vfmaq_lane_f32(acc.v, w.v, x, 0)}; }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH NeonLinear
#define EDGELANE_LINE_linear_f32_neon EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
