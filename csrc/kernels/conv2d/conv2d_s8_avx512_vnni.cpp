// int8 strip convolution: AVX-512 VNNI, one vpdpbusd for sixteen quads.
#include "kernels/simd/vec_avx512.hpp"
//
#include "kernels/conv2d/strip.hpp"

namespace edgelane {
namespace {

struct VnniPath {
  using Float = VecF32Avx512;
  using Acc = VecI32Avx512;
  using Input = VecI32Avx512;
  using Weight = VecI32Avx512;
  static constexpr bool kInt8 = true;
  static constexpr WeightForm kForm = WeightForm::s8_quad;
  static EDGELANE_INLINE Input load(const uint8_t* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE Weight broadcast(const uint8_t* p) { return Acc::broadcast(*reinterpret_cast<const int32_t*>(p)); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return {_mm512_dpbusd_epi32(acc.v, x.v, w.v)}; }
  static EDGELANE_INLINE Acc load_sum(const void* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE void store_sum(void* p, Acc acc) { acc.storeu(p); }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH VnniPath
#define EDGELANE_LINE_conv2d_s8_avx512_vnni EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
