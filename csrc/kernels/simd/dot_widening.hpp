// int8 dot products of quads without VNNI: both sides are widened to 16 bits and multiplied by pmaddwd, which is exact (pmaddubsw
// would saturate). Vector V is VecF32Avx2 or VecF32Avx512. Convolutions and linear layers add how they load the two sides.
#pragma once

#include <cstring>

#include "formats/layout.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

template <class V>
struct WideningDot {
  using Float = V;
  using Acc = typename V::Int;
  struct Words {
    Acc even, odd;  // elements 0 and 2, and 1 and 3, of each quad as 16-bit words
  };
  using Input = Words;
  using Weight = Words;
  static constexpr bool kInt8 = true;
  static constexpr int kInputBias = kActivationBias;
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Words x, Words w) {
    return acc + (multiply_pairs(x.even, w.even) + multiply_pairs(x.odd, w.odd));
  }
};

}  // namespace
}  // namespace edgelane
