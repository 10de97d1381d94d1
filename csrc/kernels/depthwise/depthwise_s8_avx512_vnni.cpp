// int8 depthwise convolution: AVX-512 VNNI, one vpdpbusd for four taps of sixteen results.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/depthwise/stencil_s8.hpp"

namespace edgelane {
namespace {

struct VnniPath {
  using Float = VecF32Avx512;
  using Acc = VecI32Avx512;
  using Inputs = Acc;
  using Weights = Acc;
  static constexpr int kRows = 4;
  static EDGELANE_INLINE Acc inputs(Acc x) { return x; }
  static EDGELANE_INLINE Acc weights(Acc w) { return w; }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Acc x, Acc w) { return {_mm512_dpbusd_epi32(acc.v, x.v, w.v)}; }
};

}  // namespace

extern const DepthwiseKernel depthwise_s8_4x16_avx512_vnni;
const DepthwiseKernel depthwise_s8_4x16_avx512_vnni =
    make_kernel<DepthwiseS8<VnniPath>>("depthwise_s8_4x16_avx512_vnni", Isa::avx512_vnni);

}  // namespace edgelane
