// float32 Winograd convolution: AVX2 and FMA.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/winograd/winograd_f32.hpp"

namespace edgelane {

extern const WinogradKernel winograd_f32_4x3_avx2;
const WinogradKernel winograd_f32_4x3_avx2 = make_winograd<VecF32Avx2, 4, 3>("winograd_f32_4x3_avx2", Isa::avx2);

}  // namespace edgelane
