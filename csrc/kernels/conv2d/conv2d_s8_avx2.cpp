// int8 strip convolution: AVX2, 16-bit products.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/conv2d/strip.hpp"
#include "kernels/conv2d/widening.hpp"

#define EDGELANE_PATH WideningPath<VecF32Avx2>
#define EDGELANE_LINE_conv2d_s8_avx2 EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
