// The Path of int8 strip convolutions whose instruction set multiplies quads of bytes: Dot of kernels/simd/dot_<isa>.hpp.
#pragma once

#include "kernels/conv2d/strip_kernel.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

template <class Dot>
struct DotPath {
  using Float = typename Dot::Float;
  using Acc = typename Dot::Acc;
  using Input = typename Dot::Inputs;
  using Weight = typename Dot::Weight;
  static constexpr bool kInt8 = true;
  static constexpr int kInputBias = Dot::kInputBias;
  static constexpr WeightForm kForm = WeightForm::s8_quad;
  static EDGELANE_INLINE Input load(const uint8_t* p) { return Dot::load_inputs(p); }
  static EDGELANE_INLINE Weight broadcast(const uint8_t* p) { return Dot::broadcast_weight(p); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return Dot::multiply_add(acc, x, w); }
  static EDGELANE_INLINE Acc load_sum(const void* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE void store_sum(void* p, Acc acc) { acc.storeu(p); }
};

}  // namespace
}  // namespace edgelane
