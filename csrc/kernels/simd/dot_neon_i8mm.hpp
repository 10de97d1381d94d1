// int8 dot products of quads by USDOT: unsigned bytes (inputs as they are stored) times signed ones. The weights for all lanes
// are lane 0 of their register: no broadcast is spent on them.
#pragma once

#include "formats/layout.hpp"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane {
namespace {

struct NeonI8mmDot {
  using Float = VecF32Neon;
  using Acc = VecI32Neon;
  using Inputs = uint8x16_t;  // a quad in each lane
  using Weight = int8x8_t;    // one quad
  static constexpr int kInputBias = kActivationBias;
  static EDGELANE_INLINE Inputs load_inputs(const uint8_t* p) { return vld1q_u8(p); }
  static EDGELANE_INLINE Weight broadcast_weight(const uint8_t* p) { return vreinterpret_s8_u8(load_quad(p)); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Inputs x, Weight w) { return {vusdotq_lane_s32(acc.v, x, w, 0)}; }
};

}  // namespace
}  // namespace edgelane
