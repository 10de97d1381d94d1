// int8 strip convolution: AVX-512 without VNNI, 16-bit products.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/conv2d/strip.hpp"
#include "kernels/simd/dot_widening.hpp"

namespace edgelane {
namespace {

struct WordsAvx512 {
  static EDGELANE_INLINE VecI32Avx512 shift_right_8(VecI32Avx512 x) { return {_mm512_srli_epi16(x.v, 8)}; }
  static EDGELANE_INLINE VecI32Avx512 multiply_pairs(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_madd_epi16(a.v, b.v)}; }
};
using PathAvx512 = WideningPath<VecF32Avx512, WordsAvx512>;

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH PathAvx512
#define EDGELANE_LINE_conv2d_s8_avx512 EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
