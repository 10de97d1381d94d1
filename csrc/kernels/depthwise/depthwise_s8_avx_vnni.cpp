// int8 depthwise convolution: AVX2 with AVX-VNNI, one vpdpbusd for four taps of eight results.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/depthwise/dot_path.hpp"
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/simd/dot_vnni.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_s8_2x8_avx_vnni;
const DepthwiseKernel depthwise_s8_2x8_avx_vnni =
    make_kernel<DepthwiseS8<DepthwiseDot<VnniDot<VecF32Avx2>, 2>>>("depthwise_s8_2x8_avx_vnni", Isa::avx_vnni);

}  // namespace edgelane
