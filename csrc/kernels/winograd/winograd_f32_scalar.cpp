// float32 Winograd convolution: any CPU.
#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/winograd/winograd_f32.hpp"

namespace edgelane {

extern const WinogradKernel winograd_f32_2x2_scalar;
const WinogradKernel winograd_f32_2x2_scalar = make_winograd<VecF32Scalar, 2, 2>("winograd_f32_2x2_scalar", Isa::scalar);

}  // namespace edgelane
