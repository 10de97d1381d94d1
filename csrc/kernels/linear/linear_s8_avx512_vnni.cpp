// int8 linear layers: AVX-512 VNNI.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

struct VnniLinear {
  using Float = VecF32Avx512;
  using Acc = VecI32Avx512;
  using Input = VecI32Avx512;
  using Weight = VecI32Avx512;
  static constexpr bool kInt8 = true;
  static EDGELANE_INLINE Input broadcast(const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, sizeof quad);
    return Acc::broadcast(quad);
  }
  static EDGELANE_INLINE Weight load(const uint8_t* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return {_mm512_dpbusd_epi32(acc.v, x.v, w.v)}; }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH VnniLinear
#define EDGELANE_LINE_linear_s8_avx512_vnni EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
