// float32 depthwise convolution: AVX-512.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/depthwise/stencil_f32.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_f32_4x16_avx512;
const DepthwiseKernel depthwise_f32_4x16_avx512 =
    make_kernel<DepthwiseF32<VecF32Avx512>>("depthwise_f32_4x16_avx512", Isa::avx512);

}  // namespace edgelane
