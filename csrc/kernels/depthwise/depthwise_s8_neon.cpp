// int8 depthwise convolution: Advanced SIMD, 16-bit products.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/simd/dot_neon.hpp"

namespace edgelane {
namespace {

// As NeonDot, with one register of sums: here they are few and short, and the tile needs the registers.
struct NeonPath {
  using Float = VecF32Neon;
  using Acc = VecI32Neon;
  using Inputs = int8x16_t;
  using Weights = int8x16_t;
  static constexpr int kRows = 2;
  static constexpr int kInputBias = NeonDot::kInputBias;
  static EDGELANE_INLINE Inputs inputs(Acc x) { return NeonDot::without_bias(vreinterpretq_u8_s32(x.v)); }
  static EDGELANE_INLINE Weights weights(Acc w) { return vreinterpretq_s8_s32(w.v); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Inputs x, Weights w) {
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(w))), high = vpaddlq_s16(vmull_high_s8(x, w));
    return {vaddq_s32(acc.v, vpaddq_s32(low, high))};
  }
};

}  // namespace

extern const DepthwiseKernel depthwise_s8_2x4_neon;
const DepthwiseKernel depthwise_s8_2x4_neon = make_kernel<DepthwiseS8<NeonPath>>("depthwise_s8_2x4_neon", Isa::neon);

}  // namespace edgelane
