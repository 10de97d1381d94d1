// The Path of int8 linear layers whose instruction set multiplies quads of bytes: Dot of kernels/simd/dot_<isa>.hpp.
#pragma once

#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

template <class Dot>
struct DotLinear {
  using Float = typename Dot::Float;
  using Acc = typename Dot::Acc;
  using Input = typename Dot::Input;
  using Weight = typename Dot::Weights;
  static constexpr bool kInt8 = true;
  static constexpr int kInputBias = Dot::kInputBias;
  static constexpr int kStepBytes = kChannelGroup;
  static EDGELANE_INLINE Input broadcast(const uint8_t* p) { return Dot::broadcast_input(p); }
  static EDGELANE_INLINE Weight load(const uint8_t* p) { return Dot::load_weights(p); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return Dot::multiply_add(acc, x, w); }
};

}  // namespace
}  // namespace edgelane
