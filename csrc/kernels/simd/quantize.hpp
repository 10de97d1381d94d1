// formats/quantization.hpp on vectors of int8 stored biased; bit-identical to it. V is a type of vec_<isa>.hpp.
#pragma once

#include <cstdint>

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

template <class V>
struct VectorQuant {
  V scale, zero_point;
  VectorQuant(float s, int32_t z) : scale(V::broadcast(s)), zero_point(V::broadcast(static_cast<float>(z))) {}
};

// The stored byte (0 to 255) of a real value.
template <class V>
EDGELANE_INLINE typename V::Int quantize_lanes(V real, const VectorQuant<V>& q) {
  V v = round_even(real / q.scale) + q.zero_point;
  v = select(v == v, v, q.zero_point);
  v = min(V::broadcast(127.0f), max(V::broadcast(-128.0f), v));
  return (v + V::broadcast(128.0f)).to_int();
}

template <class V>
EDGELANE_INLINE V dequantize_lanes(typename V::Int stored, const VectorQuant<V>& q) {
  return q.scale * ((stored - V::Int::broadcast(128)).to_float() - q.zero_point);
}

}  // namespace
}  // namespace edgelane
