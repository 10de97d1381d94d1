// int8 linear layers: AVX2 with AVX-VNNI.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/linear/dot_path.hpp"
#include "kernels/simd/dot_vnni.hpp"

#define EDGELANE_PATH DotLinear<VnniDot<VecF32Avx2>>
#define EDGELANE_LINE_linear_s8_avx_vnni EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
