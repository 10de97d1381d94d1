// int8 depthwise convolution: USDOT, four taps of four results at once.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/depthwise/dot_path.hpp"
#include "kernels/depthwise/stencil_s8.hpp"
#include "kernels/simd/dot_neon_i8mm.hpp"

namespace edgelane {

extern const DepthwiseKernel depthwise_s8_4x4_neon_i8mm;
const DepthwiseKernel depthwise_s8_4x4_neon_i8mm =
    make_kernel<DepthwiseS8<DepthwiseDot<NeonI8mmDot, 4>>>("depthwise_s8_4x4_neon_i8mm", Isa::neon_i8mm);

}  // namespace edgelane
