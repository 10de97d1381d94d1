// int8 dot products of quads by SDOT. The inputs' stored bias of 128 is taken off on loading, so that both sides are signed bytes
// (kInputBias = 0). The one quad for all lanes is lane 0 of its register: no broadcast is spent on it.
#pragma once

#include "kernels/simd/vec_neon.hpp"

namespace edgelane {
namespace {

struct NeonDotprodDot {
  using Float = VecF32Neon;
  using Acc = VecI32Neon;
  using Inputs = int8x16_t;   // a quad in each lane
  using Weights = int8x16_t;  // a quad in each lane
  using Input = int8x8_t;     // one quad
  using Weight = int8x8_t;
  static constexpr int kInputBias = 0;
  static EDGELANE_INLINE Inputs load_inputs(const uint8_t* p) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
  }
  static EDGELANE_INLINE Weights load_weights(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  static EDGELANE_INLINE Input broadcast_input(const uint8_t* p) {
    return vreinterpret_s8_u8(veor_u8(load_quad(p), vdup_n_u8(0x80)));
  }
  static EDGELANE_INLINE Weight broadcast_weight(const uint8_t* p) { return vreinterpret_s8_u8(load_quad(p)); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Inputs x, Weight w) { return {vdotq_lane_s32(acc.v, x, w, 0)}; }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weights w) { return {vdotq_lane_s32(acc.v, w, x, 0)}; }
};

}  // namespace
}  // namespace edgelane
