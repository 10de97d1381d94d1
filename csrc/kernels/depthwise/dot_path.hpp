// The Path of int8 depthwise convolutions whose instruction set multiplies quads of bytes: Dot of kernels/simd/dot_<isa>.hpp.
#pragma once

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

template <class Dot, int Rows>
struct DepthwiseDot {
  using Float = typename Dot::Float;
  using Acc = typename Dot::Acc;
  using Inputs = typename Dot::Inputs;
  using Weights = typename Dot::Weights;
  static constexpr int kRows = Rows;
  static constexpr int kInputBias = Dot::kInputBias;
  static EDGELANE_INLINE Inputs inputs(Acc x) { return Dot::inputs(x); }
  static EDGELANE_INLINE Weights weights(Acc w) { return Dot::weights(w); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Inputs x, Weights w) { return Dot::multiply_add(acc, x, w); }
};

}  // namespace
}  // namespace edgelane
