// int8 depthwise convolution: SDOT, four taps of four results at once.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/depthwise/dot_path.hpp"
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/simd/dot_neon_dotprod.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_s8_4x4_neon_dotprod;
const DepthwiseKernel depthwise_s8_4x4_neon_dotprod =
    make_kernel<DepthwiseS8<DepthwiseDot<NeonDotprodDot, 4>>>("depthwise_s8_4x4_neon_dotprod", Isa::neon_dotprod);

}  // namespace edgelane
