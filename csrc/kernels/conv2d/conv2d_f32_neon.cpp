// float32 strip convolution: Advanced SIMD, multiply-adds by element.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/conv2d/staged.hpp"

namespace edgelane {
namespace {

struct NeonPath : F32Path<VecF32Neon> {
  using Weight = float32x2_t;
  static EDGELANE_INLINE Weight broadcast(const uint8_t* p) { return load_scalar(p); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return {vfmaq_lane_f32(acc.v, x.v, w, 0)}; }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH NeonPath
#define EDGELANE_LINE_conv2d_f32_neon EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
