// int8 depthwise convolution: AVX-512 without VNNI, 16-bit products.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/depthwise/widening.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_s8_4x16_avx512;
const DepthwiseKernel depthwise_s8_4x16_avx512 =
    make_kernel<DepthwiseS8<DepthwiseWidening<VecF32Avx512, 4>>>("depthwise_s8_4x16_avx512", Isa::avx512);

}  // namespace edgelane
