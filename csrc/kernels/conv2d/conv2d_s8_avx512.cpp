// int8 strip convolution: AVX-512 without VNNI, 16-bit products.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/conv2d/strip.hpp"
#include "kernels/conv2d/widening.hpp"

#define EDGELANE_PATH WideningPath<VecF32Avx512>
#define EDGELANE_LINE_conv2d_s8_avx512 EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
