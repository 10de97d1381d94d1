// float32 depthwise convolution: Advanced SIMD.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/depthwise/stencil_f32.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_f32_4x4_neon;
const DepthwiseKernel depthwise_f32_4x4_neon = make_kernel<DepthwiseF32<VecF32Neon>>("depthwise_f32_4x4_neon", Isa::neon);

}  // namespace edgelane
