// float32 strip convolution: AVX-512.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/conv2d/staged.hpp"

#define EDGELANE_PATH F32Path<VecF32Avx512>
#define EDGELANE_LINE_conv2d_f32_avx512 EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
