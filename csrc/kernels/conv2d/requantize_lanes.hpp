// requantize.hpp on vectors: the same operations in the same order, so the same bits.
#pragma once

#include "kernels/conv2d/requantize.hpp"
#include "kernels/simd/activation.hpp"

namespace edgelane {
namespace {

// Out of line: some thirty functions would otherwise be copied into every tile.
template <class V>
__attribute__((noinline)) V activate_out_of_line(V x, const Activation& activation) {
  return apply_activation(x, activation);
}

// The bounds of an activation that is a clamp; a NaN stays one.
template <class V>
EDGELANE_INLINE V clamp_lanes(V y, float lo, float hi) {
  return min(V::broadcast(hi), max(V::broadcast(lo), y));
}

template <class V>
EDGELANE_INLINE V activate_lanes(V y, const FloatActivation& a) {
  return a.clamp ? clamp_lanes(y, a.lo, a.hi) : activate_out_of_line(y, a.any);
}

template <class V>
EDGELANE_INLINE V slope_lanes(V y, V slope) {
  return select(y < V::zero(), slope * y, y);
}

// A residual's value in the unit of the sum; `stored` holds one byte in each lane.
template <class V>
EDGELANE_INLINE V residual_lanes(typename V::Int stored, const Requantize& r) {
  return (stored - V::Int::broadcast(r.residual_zero)).to_float() * V::broadcast(r.residual_scale);
}

// Bits of a float whose lowest byte counts ones: with byte b there, the float is kByteBase + b.
constexpr int32_t kByteBaseBits = 0x4B000000;
constexpr float kByteBase = 0x1p23f;

// The same of byte N of each lane, in fewer instructions. `zero` is kByteBase + r.residual_zero: the difference is exact.
template <int N, class V>
EDGELANE_INLINE V residual_bytes(typename V::Int stored, V zero, V scale) {
  return (V::Int::broadcast(kByteBaseBits).template with_low_byte<N>(stored).bitcast() - zero) * scale;
}

// Steps of the intermediate quantisation.
template <class V>
EDGELANE_INLINE V intermediate_lanes(V y, const Requantize& r) {
  return round_even(min(max(y, V::broadcast(r.intermediate_lo)), V::broadcast(r.intermediate_hi)));
}

// Real values or steps of the output, ready to be stored or rounded. `acc` has the folded bias in it, `stored` holds a residual
// byte in each lane. General says at compile time what r.general says. `slope` counts where r.sloped.
template <bool General, class V>
EDGELANE_INLINE V requantize_lanes(typename V::Int acc, V multiplier, V slope, typename V::Int stored, const Requantize& r) {
  V u = acc.to_float(), s = multiplier;
  if (r.has_intermediate) {
    u = intermediate_lanes(u * s, r);
    s = V::broadcast(r.intermediate_scale);
  }
  V y = u * s;
  if (r.has_residual) y = y + residual_lanes<V>(stored, r);
  if (r.sloped) y = slope_lanes(y, slope);
  if constexpr (General) {
    y = activate_out_of_line(y, r.activation);
    if (r.float_output) return y;
    y = y * V::broadcast(r.inverse_output);
    y = select(y == y, y, V::zero());
  }
  return min(max(y, V::broadcast(r.lo)), V::broadcast(r.hi));
}

}  // namespace
}  // namespace edgelane
