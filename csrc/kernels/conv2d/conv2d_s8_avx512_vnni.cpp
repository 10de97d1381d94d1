// int8 strip convolution: AVX-512 VNNI, one vpdpbusd for sixteen quads.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/conv2d/dot_path.hpp"
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_vnni.hpp"

#define EDGELANE_PATH DotPath<VnniDot<VecF32Avx512>>
#define EDGELANE_LINE_conv2d_s8_avx512_vnni EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
