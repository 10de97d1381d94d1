// int8 depthwise convolution: AVX2, 16-bit products.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/depthwise/widening.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_s8_2x8_avx2;
const DepthwiseKernel depthwise_s8_2x8_avx2 =
    make_kernel<DepthwiseS8<DepthwiseWidening<VecF32Avx2, 2>>>("depthwise_s8_2x8_avx2", Isa::avx2);

}  // namespace edgelane
