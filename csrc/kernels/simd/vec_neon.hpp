// Vectors of four for AArch64's Advanced SIMD; the interface is described in vec_scalar.hpp.
// Include only from *_neon.cpp, *_neon_dotprod.cpp and *_neon_i8mm.cpp.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

// One weight or one quad for all lanes, as lane 0 of a register: what the by-element forms of the instructions multiply by. A
// load that broadcasts would take a slot of the arithmetic units as well.
EDGELANE_INLINE float32x2_t load_scalar(const uint8_t* p) {
  uint32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return vcreate_f32(bits);
}
EDGELANE_INLINE uint8x8_t load_quad(const uint8_t* p) {
  uint32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return vcreate_u8(bytes);
}

struct MaskNeon {
  uint32x4_t v;  // all ones or all zeros in each lane
  static EDGELANE_INLINE MaskNeon of(uint32_t bits) {
    const uint32x4_t lane = {1, 2, 4, 8};
    return {vtstq_u32(vdupq_n_u32(bits), lane)};
  }
  static EDGELANE_INLINE MaskNeon first(int n) {
    const int32x4_t lane = {0, 1, 2, 3};
    return {vcgtq_s32(vdupq_n_s32(n), lane)};
  }
  friend EDGELANE_INLINE MaskNeon operator&(MaskNeon a, MaskNeon b) { return {vandq_u32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskNeon operator|(MaskNeon a, MaskNeon b) { return {vorrq_u32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskNeon operator!(MaskNeon a) { return {vmvnq_u32(a.v)}; }
};

struct VecF32Neon;

struct VecI32Neon {
  static constexpr int width = 4;
  int32x4_t v;

  static EDGELANE_INLINE VecI32Neon zero() { return broadcast(0); }
  static EDGELANE_INLINE VecI32Neon broadcast(int32_t x) { return {vdupq_n_s32(x)}; }
  static EDGELANE_INLINE VecI32Neon load(const int32_t* p) { return {vld1q_s32(p)}; }
  static EDGELANE_INLINE VecI32Neon loadu(const void* p) {
    return {vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)))};
  }
  // There are no masked loads and stores: lanes go one by one, or as halves, and memory of the others is not touched.
  static EDGELANE_INLINE VecI32Neon load_mask(const void* p, uint32_t bits) {
    const int32_t* from = static_cast<const int32_t*>(p);
    int32x4_t r = vdupq_n_s32(0);
    if (bits & 1) r = vld1q_lane_s32(from, r, 0);
    if (bits & 2) r = vld1q_lane_s32(from + 1, r, 1);
    if (bits & 4) r = vld1q_lane_s32(from + 2, r, 2);
    if (bits & 8) r = vld1q_lane_s32(from + 3, r, 3);
    return {r};
  }
  static EDGELANE_INLINE VecI32Neon load_first(const void* p, int n) {
    if (n >= 4) return loadu(p);
    const int32_t* from = static_cast<const int32_t*>(p);
    int32x4_t r = vdupq_n_s32(0);
    if (n >= 2) r = vcombine_s32(vld1_s32(from), vdup_n_s32(0));
    if (n == 1) r = vld1q_lane_s32(from, r, 0);
    if (n == 3) r = vld1q_lane_s32(from + 2, r, 2);
    return {r};
  }
  // Four bytes, zero-extended.
  static EDGELANE_INLINE VecI32Neon load_u8(const uint8_t* p) {
    uint32_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return widened(bytes);
  }
  static EDGELANE_INLINE VecI32Neon load_u8_first(const uint8_t* p, int n) {
    if (n >= 4) return load_u8(p);
    uint32_t bytes = 0;
    for (int i = 0; i < n; ++i) bytes |= static_cast<uint32_t>(p[i]) << 8 * i;
    return widened(bytes);
  }
  EDGELANE_INLINE void store(int32_t* p) const { vst1q_s32(p, v); }
  EDGELANE_INLINE void storeu(void* p) const { vst1q_u8(static_cast<uint8_t*>(p), vreinterpretq_u8_s32(v)); }
  EDGELANE_INLINE void store_mask(void* p, uint32_t bits) const {
    int32_t* to = static_cast<int32_t*>(p);
    if (bits & 1) vst1q_lane_s32(to, v, 0);
    if (bits & 2) vst1q_lane_s32(to + 1, v, 1);
    if (bits & 4) vst1q_lane_s32(to + 2, v, 2);
    if (bits & 8) vst1q_lane_s32(to + 3, v, 3);
  }
  EDGELANE_INLINE void store_first(void* p, int n) const {
    if (n >= 4) return storeu(p);
    int32_t* to = static_cast<int32_t*>(p);
    if (n >= 2) vst1_s32(to, vget_low_s32(v));
    if (n == 1) vst1q_lane_s32(to, v, 0);
    if (n == 3) vst1q_lane_s32(to + 2, v, 2);
  }
  // The lanes, which hold 0 to 255, as bytes.
  EDGELANE_INLINE void store_u8(uint8_t* p) const {
    const uint32_t all = bytes();
    std::memcpy(p, &all, sizeof all);
  }
  EDGELANE_INLINE void store_u8_first(uint8_t* p, int n) const {
    if (n >= 4) return store_u8(p);
    const uint32_t all = bytes();
    for (int i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(all >> 8 * i);
  }
  EDGELANE_INLINE VecF32Neon to_float() const;
  EDGELANE_INLINE VecF32Neon bitcast() const;
  template <int N>
  EDGELANE_INLINE VecI32Neon shl() const {
    return {vshlq_n_s32(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Neon shr() const {
    if constexpr (N == 0)  // the instruction shifts by 1 to 32
      return *this;
    else
      return {vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(v), N))};
  }
  template <int N>
  EDGELANE_INLINE VecI32Neon sar() const {
    if constexpr (N == 0)
      return *this;
    else
      return {vshrq_n_s32(v, N)};
  }
  friend EDGELANE_INLINE VecI32Neon operator+(VecI32Neon a, VecI32Neon b) { return {vaddq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon operator-(VecI32Neon a, VecI32Neon b) { return {vsubq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon operator*(VecI32Neon a, VecI32Neon b) { return {vmulq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon operator&(VecI32Neon a, VecI32Neon b) { return {vandq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon operator|(VecI32Neon a, VecI32Neon b) { return {vorrq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon operator^(VecI32Neon a, VecI32Neon b) { return {veorq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon min(VecI32Neon a, VecI32Neon b) { return {vminq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon max(VecI32Neon a, VecI32Neon b) { return {vmaxq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskNeon operator<(VecI32Neon a, VecI32Neon b) { return {vcltq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskNeon operator==(VecI32Neon a, VecI32Neon b) { return {vceqq_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon in_register(VecI32Neon a) {
    asm("" : "+w"(a.v));
    return a;
  }
  friend EDGELANE_INLINE VecI32Neon even_lanes(VecI32Neon a, VecI32Neon b) { return {vuzp1q_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon odd_lanes(VecI32Neon a, VecI32Neon b) { return {vuzp2q_s32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Neon interleave_bytes_low(VecI32Neon a, VecI32Neon b) {
    return {vreinterpretq_s32_s8(vzip1q_s8(vreinterpretq_s8_s32(a.v), vreinterpretq_s8_s32(b.v)))};
  }
  friend EDGELANE_INLINE VecI32Neon interleave_bytes_high(VecI32Neon a, VecI32Neon b) {
    return {vreinterpretq_s32_s8(vzip2q_s8(vreinterpretq_s8_s32(a.v), vreinterpretq_s8_s32(b.v)))};
  }
  friend EDGELANE_INLINE VecI32Neon interleave_words_low(VecI32Neon a, VecI32Neon b) {
    return {vreinterpretq_s32_s16(vzip1q_s16(vreinterpretq_s16_s32(a.v), vreinterpretq_s16_s32(b.v)))};
  }
  friend EDGELANE_INLINE VecI32Neon interleave_words_high(VecI32Neon a, VecI32Neon b) {
    return {vreinterpretq_s32_s16(vzip2q_s16(vreinterpretq_s16_s32(a.v), vreinterpretq_s16_s32(b.v)))};
  }
  friend EDGELANE_INLINE VecI32Neon pack_bytes(VecI32Neon a, VecI32Neon b, VecI32Neon c, VecI32Neon d) {
    const int16x8_t ab = vuzp1q_s16(vreinterpretq_s16_s32(a.v), vreinterpretq_s16_s32(b.v));
    const int16x8_t cd = vuzp1q_s16(vreinterpretq_s16_s32(c.v), vreinterpretq_s16_s32(d.v));
    return {vreinterpretq_s32_s8(vuzp1q_s8(vreinterpretq_s8_s16(ab), vreinterpretq_s8_s16(cd)))};
  }
  friend EDGELANE_INLINE VecI32Neon pack_s8(VecI32Neon a, VecI32Neon b, VecI32Neon c, VecI32Neon d, int32_t zero) {
    const int16x8_t shift = vdupq_n_s16(static_cast<int16_t>(zero));
    const int16x8_t ab = vqaddq_s16(vcombine_s16(vqmovn_s32(a.v), vqmovn_s32(b.v)), shift);
    const int16x8_t cd = vqaddq_s16(vcombine_s16(vqmovn_s32(c.v), vqmovn_s32(d.v)), shift);
    const int8x16_t bytes = vcombine_s8(vqmovn_s16(ab), vqmovn_s16(cd));  // four of a, of b, of c, of d
    const uint8x16_t order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return {vreinterpretq_s32_s8(vqtbl1q_s8(bytes, order))};
  }
  friend EDGELANE_INLINE VecI32Neon min_bytes(VecI32Neon a, VecI32Neon b) {
    return {vreinterpretq_s32_s8(vminq_s8(vreinterpretq_s8_s32(a.v), vreinterpretq_s8_s32(b.v)))};
  }
  friend EDGELANE_INLINE VecI32Neon max_bytes(VecI32Neon a, VecI32Neon b) {
    return {vreinterpretq_s32_s8(vmaxq_s8(vreinterpretq_s8_s32(a.v), vreinterpretq_s8_s32(b.v)))};
  }
  template <int N>
  EDGELANE_INLINE VecI32Neon with_low_byte(VecI32Neon b) const {
    const uint8x16_t byte = {N, 255, 255, 255, N + 4, 255, 255, 255, N + 8, 255, 255, 255, N + 12, 255, 255, 255};
    return {vreinterpretq_s32_u8(vqtbx1q_u8(vreinterpretq_u8_s32(v), vreinterpretq_u8_s32(b.v), byte))};
  }
  friend EDGELANE_INLINE VecI32Neon select(MaskNeon m, VecI32Neon a, VecI32Neon b) { return {vbslq_s32(m.v, a.v, b.v)}; }

 private:
  static EDGELANE_INLINE VecI32Neon widened(uint32_t bytes) {
    const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)));
    return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words)))};
  }
  EDGELANE_INLINE uint32_t bytes() const {
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(v));
    return vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words))), 0);
  }
};

struct VecF32Neon {
  static constexpr int width = 4;
  using Int = VecI32Neon;
  using Mask = MaskNeon;
  float32x4_t v;

  static EDGELANE_INLINE VecF32Neon zero() { return broadcast(0.0f); }
  static EDGELANE_INLINE VecF32Neon broadcast(float x) { return {vdupq_n_f32(x)}; }
  static EDGELANE_INLINE VecF32Neon load(const float* p) { return {vld1q_f32(p)}; }
  static EDGELANE_INLINE VecF32Neon loadu(const float* p) { return {vld1q_f32(p)}; }
  static EDGELANE_INLINE VecF32Neon load_mask(const float* p, uint32_t bits) { return VecI32Neon::load_mask(p, bits).bitcast(); }
  static EDGELANE_INLINE VecF32Neon load_first(const float* p, int n) { return VecI32Neon::load_first(p, n).bitcast(); }
  EDGELANE_INLINE void store(float* p) const { vst1q_f32(p, v); }
  EDGELANE_INLINE void storeu(float* p) const { vst1q_f32(p, v); }
  EDGELANE_INLINE void store_mask(float* p, uint32_t bits) const { bitcast().store_mask(p, bits); }
  EDGELANE_INLINE void store_first(float* p, int n) const { bitcast().store_first(p, n); }
  EDGELANE_INLINE VecI32Neon to_int() const { return {vcvtnq_s32_f32(v)}; }
  EDGELANE_INLINE VecI32Neon bitcast() const { return {vreinterpretq_s32_f32(v)}; }
  EDGELANE_INLINE float reduce_add() const { return vaddvq_f32(v); }
  EDGELANE_INLINE float reduce_max() const { return vmaxvq_f32(v); }
  friend EDGELANE_INLINE VecF32Neon operator+(VecF32Neon a, VecF32Neon b) { return {vaddq_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon operator-(VecF32Neon a, VecF32Neon b) { return {vsubq_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon operator*(VecF32Neon a, VecF32Neon b) { return {vmulq_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon operator/(VecF32Neon a, VecF32Neon b) { return {vdivq_f32(a.v, b.v)}; }
  // FMIN and FMAX would give NaN where either operand is one, not where the second is.
  friend EDGELANE_INLINE VecF32Neon min(VecF32Neon a, VecF32Neon b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon max(VecF32Neon a, VecF32Neon b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon sqrt(VecF32Neon a) { return {vsqrtq_f32(a.v)}; }
  friend EDGELANE_INLINE VecF32Neon abs(VecF32Neon a) { return {vabsq_f32(a.v)}; }
  friend EDGELANE_INLINE VecF32Neon round_even(VecF32Neon a) { return {vrndnq_f32(a.v)}; }
  friend EDGELANE_INLINE VecF32Neon floor(VecF32Neon a) { return {vrndmq_f32(a.v)}; }
  friend EDGELANE_INLINE VecF32Neon ceil(VecF32Neon a) { return {vrndpq_f32(a.v)}; }
  friend EDGELANE_INLINE MaskNeon operator<(VecF32Neon a, VecF32Neon b) { return {vcltq_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskNeon operator<=(VecF32Neon a, VecF32Neon b) { return {vcleq_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskNeon operator==(VecF32Neon a, VecF32Neon b) { return {vceqq_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon select(MaskNeon m, VecF32Neon a, VecF32Neon b) { return {vbslq_f32(m.v, a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon in_register(VecF32Neon a) {
    asm("" : "+w"(a.v));
    return a;
  }
  friend EDGELANE_INLINE VecF32Neon even_lanes(VecF32Neon a, VecF32Neon b) { return {vuzp1q_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon odd_lanes(VecF32Neon a, VecF32Neon b) { return {vuzp2q_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon pick(VecF32Neon a, VecF32Neon b, VecI32Neon i) {
    const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100), vreinterpretq_u32_s32(i.v), 0x04040404);
    const uint8x16x2_t table = {{vreinterpretq_u8_f32(a.v), vreinterpretq_u8_f32(b.v)}};
    return {vreinterpretq_f32_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(bytes)))};
  }
  friend EDGELANE_INLINE VecF32Neon interleave_low(VecF32Neon a, VecF32Neon b) { return {vzip1q_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon interleave_high(VecF32Neon a, VecF32Neon b) { return {vzip2q_f32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Neon muladd(VecF32Neon a, VecF32Neon b, VecF32Neon c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
};

EDGELANE_INLINE VecF32Neon VecI32Neon::to_float() const { return {vcvtq_f32_s32(v)}; }
EDGELANE_INLINE VecF32Neon VecI32Neon::bitcast() const { return {vreinterpretq_f32_s32(v)}; }

}  // namespace
}  // namespace edgelane
