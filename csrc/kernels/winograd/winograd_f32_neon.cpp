// float32 Winograd convolution: 64-bit Arm.
#include "kernels/simd/vec_neon.hpp"
//
#include "kernels/winograd/winograd_f32.hpp"

namespace edgelane {

extern const WinogradKernel winograd_f32_4x5_neon;
const WinogradKernel winograd_f32_4x5_neon = make_winograd<VecF32Neon, 4, 5>("winograd_f32_4x5_neon", Isa::neon);

}  // namespace edgelane
