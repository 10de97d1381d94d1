// int8 linear layers: AVX-512 without VNNI, 16-bit products, which are exact (pmaddubsw would saturate).
#include <cstring>

#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

struct WideningLinear {
  using Float = VecF32Avx512;
  using Acc = VecI32Avx512;
  struct Input {
    Acc even, odd;  // elements 0 and 2, and 1 and 3, of each quad as 16-bit words
  };
  using Weight = Input;
  static constexpr bool kInt8 = true;
  static EDGELANE_INLINE Input broadcast(const uint8_t* p) {
    uint32_t quad;
    std::memcpy(&quad, p, sizeof quad);
    return {Acc::broadcast(static_cast<int32_t>(quad & 0x00ff00ffu)),
            Acc::broadcast(static_cast<int32_t>(quad >> 8 & 0x00ff00ffu))};
  }
  static EDGELANE_INLINE Weight load(const uint8_t* p) {
    const Acc w = Acc::loadu(p);
    return {{_mm512_srai_epi16(_mm512_slli_epi16(w.v, 8), 8)}, {_mm512_srai_epi16(w.v, 8)}};
  }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) {
    return acc + (Acc{_mm512_madd_epi16(x.even.v, w.even.v)} + Acc{_mm512_madd_epi16(x.odd.v, w.odd.v)});
  }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH WideningLinear
#define EDGELANE_LINE_linear_s8_avx512 EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
