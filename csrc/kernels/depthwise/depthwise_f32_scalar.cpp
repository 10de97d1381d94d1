// float32 depthwise convolution: any CPU.
#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/depthwise/stencil_f32.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_f32_1x4_scalar;
const DepthwiseKernel depthwise_f32_1x4_scalar =
    make_kernel<DepthwiseF32<VecF32Scalar, false>>("depthwise_f32_1x4_scalar", Isa::scalar);

}  // namespace edgelane
