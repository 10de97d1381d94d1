// The Path of int8 depthwise convolutions without a dot product of bytes.
#pragma once

#include "kernels/simd/dot_widening.hpp"

namespace edgelane {
namespace {

template <class V, int Rows>
struct DepthwiseWidening : WideningDot<V> {
  using typename WideningDot<V>::Acc;
  using typename WideningDot<V>::Words;
  using Inputs = Words;
  using Weights = Words;
  static constexpr int kRows = Rows;
  static EDGELANE_INLINE Words inputs(Acc x) { return {x & Acc::broadcast(0x00ff00ff), x.template shr_words<8>()}; }
  static EDGELANE_INLINE Words weights(Acc w) {
    return {w.template shl_words<8>().template sar_words<8>(), w.template sar_words<8>()};
  }
};

}  // namespace
}  // namespace edgelane
