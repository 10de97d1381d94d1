// The Path of int8 linear layers without VNNI: inputs are broadcast, weights are loaded as quads of int8.
#pragma once

#include "kernels/linear/gemm.hpp"
#include "kernels/simd/dot_widening.hpp"

namespace edgelane {
namespace {

template <class V>
struct WideningLinear : WideningDot<V> {
  using typename WideningDot<V>::Acc;
  using typename WideningDot<V>::Words;
  static constexpr int kStepBytes = kChannelGroup;
  static EDGELANE_INLINE Words broadcast(const uint8_t* p) {
    uint32_t quad;
    std::memcpy(&quad, p, sizeof quad);
    return {Acc::broadcast(static_cast<int32_t>(quad & 0x00ff00ffu)),
            Acc::broadcast(static_cast<int32_t>(quad >> 8 & 0x00ff00ffu))};
  }
  static EDGELANE_INLINE Words load(const uint8_t* p) {
    const Acc w = Acc::loadu(p);
    return {w.template shl_words<8>().template sar_words<8>(), w.template sar_words<8>()};
  }
};

}  // namespace
}  // namespace edgelane
