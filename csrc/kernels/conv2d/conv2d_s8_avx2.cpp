// int8 strip convolution: AVX2, 16-bit products.
#include "kernels/simd/vec_avx2.hpp"
//
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_widening.hpp"

namespace edgelane {
namespace {

struct WordsAvx2 {
  static EDGELANE_INLINE VecI32Avx2 shift_right_8(VecI32Avx2 x) { return {_mm256_srli_epi16(x.v, 8)}; }
  static EDGELANE_INLINE VecI32Avx2 multiply_pairs(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_madd_epi16(a.v, b.v)}; }
};
using PathAvx2 = WideningPath<VecF32Avx2, WordsAvx2>;

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH PathAvx2
#define EDGELANE_LINE_conv2d_s8_avx2 EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
