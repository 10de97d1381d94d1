// int8 strip convolution: AVX2 with AVX-VNNI, one vpdpbusd for eight quads.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/conv2d/dot_path.hpp"
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_vnni.hpp"

#define EDGELANE_PATH DotPath<VnniDot<VecF32Avx2>>
#define EDGELANE_LINE_conv2d_s8_avx_vnni EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
