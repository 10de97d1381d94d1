// int8 depthwise convolution: AVX-512 VNNI, one vpdpbusd for four taps of sixteen results.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/depthwise/dot_path.hpp"
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/simd/dot_vnni.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_s8_4x16_avx512_vnni;
const DepthwiseKernel depthwise_s8_4x16_avx512_vnni =
    make_kernel<DepthwiseS8<DepthwiseDot<VnniDot<VecF32Avx512>, 4>>>("depthwise_s8_4x16_avx512_vnni", Isa::avx512_vnni);

}  // namespace edgelane
