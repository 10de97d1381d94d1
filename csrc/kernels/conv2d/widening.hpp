// The Path of int8 strip convolutions without VNNI: inputs are loaded, weights are broadcast as int16 quads in the order 0, 2,
// 1, 3.
#pragma once

#include "kernels/conv2d/strip_kernel.hpp"
#include "kernels/simd/dot_widening.hpp"

namespace edgelane {
namespace {

template <class V>
struct WideningPath : WideningDot<V> {
  using typename WideningDot<V>::Acc;
  using typename WideningDot<V>::Words;
  static constexpr WeightForm kForm = WeightForm::s16_quad;
  static EDGELANE_INLINE Words load(const uint8_t* p) {
    const Acc x = Acc::loadu(p);
    return {x & Acc::broadcast(0x00ff00ff), x.template shr_words<8>()};
  }
  static EDGELANE_INLINE Words broadcast(const uint8_t* p) {
    int32_t pair[2];
    std::memcpy(pair, p, sizeof pair);
    return {Acc::broadcast(pair[0]), Acc::broadcast(pair[1])};
  }
  static EDGELANE_INLINE Acc load_sum(const void* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE void store_sum(void* p, Acc acc) { acc.storeu(p); }
};

}  // namespace
}  // namespace edgelane
