// int8 depthwise convolution for any CPU.
#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/depthwise/stencil_s8.hpp"

namespace edgelane {
namespace {

struct QuadPath {
  using Float = VecF32Scalar;
  using Acc = VecI32Scalar;
  using Inputs = Acc;
  using Weights = Acc;
  static constexpr int kRows = 0;
  static constexpr int kInputBias = kActivationBias;
  static EDGELANE_INLINE Acc inputs(Acc x) { return x; }
  static EDGELANE_INLINE Acc weights(Acc w) { return w; }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, const Acc& x, const Acc& w) {
    for (int lane = 0; lane < Acc::width; ++lane)
      for (int shift = 0; shift < 32; shift += 8) {
        const int32_t input = static_cast<uint8_t>(static_cast<uint32_t>(x.v[lane]) >> shift);
        acc.v[lane] = wrapping_add(acc.v[lane], input * static_cast<int8_t>(static_cast<uint32_t>(w.v[lane]) >> shift));
      }
    return acc;
  }
};

}  // namespace

extern const DepthwiseKernel depthwise_s8_1x4_scalar;
const DepthwiseKernel depthwise_s8_1x4_scalar = make_kernel<DepthwiseS8<QuadPath>>("depthwise_s8_1x4_scalar", Isa::scalar);

}  // namespace edgelane
