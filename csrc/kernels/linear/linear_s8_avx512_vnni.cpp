// int8 linear layers: AVX-512 VNNI.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/linear/dot_path.hpp"
#include "kernels/simd/dot_vnni.hpp"

#define EDGELANE_PATH DotLinear<VnniDot<VecF32Avx512>>
#define EDGELANE_LINE_linear_s8_avx512_vnni EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
