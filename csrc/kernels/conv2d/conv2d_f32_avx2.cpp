// float32 strip convolution: AVX2 with FMA.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/conv2d/staged.hpp"

#define EDGELANE_PATH F32Path<VecF32Avx2>
#define EDGELANE_LINE_conv2d_f32_avx2 EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
