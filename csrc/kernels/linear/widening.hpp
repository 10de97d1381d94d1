// int8 linear layers without VNNI: both sides are widened to 16 bits and multiplied by pmaddwd, which is exact (pmaddubsw would
// saturate). Vector V is VecF32Avx2 or VecF32Avx512.
#pragma once

#include <cstring>

#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

template <class V>
struct WideningLinear {
  using Float = V;
  using Acc = typename V::Int;
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
    return {w.template shl_words<8>().template sar_words<8>(), w.template sar_words<8>()};
  }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) {
    return acc + (multiply_pairs(x.even, w.even) + multiply_pairs(x.odd, w.odd));
  }
};

}  // namespace
}  // namespace edgelane
