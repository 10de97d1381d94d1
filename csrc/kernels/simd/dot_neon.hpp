// int8 dot products of quads for AArch64 without SDOT. The inputs' stored bias of 128 is taken off on loading, so that both sides
// are signed bytes (kInputBias = 0). A product of two fits in 16 bits; a sum of two products does not (-128 * -128 twice), so
// that each is added to 32 bits at once, pair by pair, and a vector of sums is two registers of half quads.
#pragma once

#include "kernels/simd/vec_neon.hpp"

namespace edgelane {
namespace {

struct NeonDot {
  using Float = VecF32Neon;
  struct Acc {
    int32x4_t low, high;  // of lanes 0, 0, 1, 1 and 2, 2, 3, 3
    Acc() = default;
    EDGELANE_INLINE Acc(int32x4_t l, int32x4_t h) : low(l), high(h) {}
    EDGELANE_INLINE Acc(VecI32Neon sums) : low(vzip1q_s32(sums.v, vdupq_n_s32(0))), high(vzip2q_s32(sums.v, vdupq_n_s32(0))) {}
    EDGELANE_INLINE operator VecI32Neon() const { return {vpaddq_s32(low, high)}; }
    static EDGELANE_INLINE Acc zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
    static EDGELANE_INLINE Acc loadu(const void* p) { return VecI32Neon::loadu(p); }
    EDGELANE_INLINE void storeu(void* p) const { VecI32Neon(*this).storeu(p); }
    EDGELANE_INLINE VecF32Neon to_float() const { return VecI32Neon(*this).to_float(); }
    friend EDGELANE_INLINE Acc operator+(Acc a, Acc b) { return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
    friend EDGELANE_INLINE VecI32Neon operator+(Acc a, VecI32Neon b) { return VecI32Neon(a) + b; }
  };
  using Inputs = int8x16_t;   // a quad in each lane
  using Weights = int8x16_t;  // a quad in each lane
  using Input = int8x16_t;    // one quad in all lanes
  using Weight = int8x16_t;
  static constexpr int kInputBias = 0;
  static EDGELANE_INLINE Inputs load_inputs(const uint8_t* p) { return without_bias(vld1q_u8(p)); }
  static EDGELANE_INLINE Weights load_weights(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  static EDGELANE_INLINE Input broadcast_input(const uint8_t* p) { return without_bias(quad(p)); }
  static EDGELANE_INLINE Weight broadcast_weight(const uint8_t* p) { return vreinterpretq_s8_u8(quad(p)); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, int8x16_t x, int8x16_t w) {
    return {vpadalq_s16(acc.low, vmull_s8(vget_low_s8(x), vget_low_s8(w))), vpadalq_s16(acc.high, vmull_high_s8(x, w))};
  }

 private:
  static EDGELANE_INLINE int8x16_t without_bias(uint8x16_t stored) {
    return vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(0x80)));
  }
  static EDGELANE_INLINE uint8x16_t quad(const uint8_t* p) {
    uint32_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return vreinterpretq_u8_u32(vdupq_n_u32(bytes));
  }
};

}  // namespace
}  // namespace edgelane
