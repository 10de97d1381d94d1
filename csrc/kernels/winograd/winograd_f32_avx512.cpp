// float32 Winograd convolution: AVX-512.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/winograd/winograd_f32.hpp"

namespace edgelane {

extern const WinogradKernel winograd_f32_8x3_avx512;
const WinogradKernel winograd_f32_8x3_avx512 = make_winograd<VecF32Avx512, 8, 3>("winograd_f32_8x3_avx512", Isa::avx512);

}  // namespace edgelane
