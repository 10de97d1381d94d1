// float32 depthwise convolution: AVX2.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/depthwise/stencil_f32.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_f32_4x8_avx2;
const DepthwiseKernel depthwise_f32_4x8_avx2 = make_kernel<DepthwiseF32<VecF32Avx2>>("depthwise_f32_4x8_avx2", Isa::avx2);

}  // namespace edgelane
