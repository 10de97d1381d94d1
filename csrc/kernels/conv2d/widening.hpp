// int8 dot products of quads without VNNI: both sides are widened to 16 bits and multiplied by pmaddwd, which is exact
// (pmaddubsw would saturate). Vector V is VecF32Avx2 or VecF32Avx512; weights are int16 quads in the order 0, 2, 1, 3.
#pragma once

#include <cstring>

#include "kernels/conv2d/strip_kernel.hpp"

namespace edgelane {
namespace {

template <class V>
struct WideningPath {
  using Float = V;
  using Acc = typename V::Int;
  struct Input {
    Acc even, odd;  // channels 0 and 2, and 1 and 3, as 16-bit words
  };
  using Weight = Input;
  static constexpr bool kInt8 = true;
  static constexpr WeightForm kForm = WeightForm::s16_quad;
  static EDGELANE_INLINE Input load(const uint8_t* p) {
    const Acc x = Acc::loadu(p);
    return {x & Acc::broadcast(0x00ff00ff), x.template shr_words<8>()};
  }
  static EDGELANE_INLINE Weight broadcast(const uint8_t* p) {
    int32_t pair[2];
    std::memcpy(pair, p, sizeof pair);
    return {Acc::broadcast(pair[0]), Acc::broadcast(pair[1])};
  }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) {
    return acc + (multiply_pairs(x.even, w.even) + multiply_pairs(x.odd, w.odd));
  }
  static EDGELANE_INLINE Acc load_sum(const void* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE void store_sum(void* p, Acc acc) { acc.storeu(p); }
};

}  // namespace
}  // namespace edgelane
