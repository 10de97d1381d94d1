// Vectors of sixteen for AVX-512 F, BW, DQ, VL; the interface is described in vec_scalar.hpp.
// Include only from *_avx512.cpp and *_avx512_vnni.cpp.
#pragma once

// GCC 12 takes the deliberately undefined operand of its own unmasked intrinsics for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

struct MaskAvx512 {
  __mmask16 v;
  static EDGELANE_INLINE MaskAvx512 of(uint32_t bits) { return {static_cast<__mmask16>(bits)}; }
  static EDGELANE_INLINE MaskAvx512 first(int n) { return of(n >= 16 ? 0xffffu : (1u << n) - 1); }
  friend EDGELANE_INLINE MaskAvx512 operator&(MaskAvx512 a, MaskAvx512 b) { return {_kand_mask16(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx512 operator|(MaskAvx512 a, MaskAvx512 b) { return {_kor_mask16(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx512 operator!(MaskAvx512 a) { return {_knot_mask16(a.v)}; }
};

struct VecF32Avx512;

struct VecI32Avx512 {
  static constexpr int width = 16;
  __m512i v;

  static EDGELANE_INLINE VecI32Avx512 zero() { return {_mm512_setzero_si512()}; }
  static EDGELANE_INLINE VecI32Avx512 broadcast(int32_t x) { return {_mm512_set1_epi32(x)}; }
  static EDGELANE_INLINE VecI32Avx512 load(const int32_t* p) { return {_mm512_load_si512(p)}; }
  static EDGELANE_INLINE VecI32Avx512 loadu(const void* p) { return {_mm512_loadu_si512(p)}; }
  static EDGELANE_INLINE VecI32Avx512 load_mask(const void* p, uint32_t bits) {
    return {_mm512_maskz_loadu_epi32(static_cast<__mmask16>(bits), p)};
  }
  static EDGELANE_INLINE VecI32Avx512 load_first(const void* p, int n) {
    return {_mm512_maskz_loadu_epi32(MaskAvx512::first(n).v, p)};
  }
  // Sixteen bytes, zero-extended.
  static EDGELANE_INLINE VecI32Avx512 load_u8(const uint8_t* p) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static EDGELANE_INLINE VecI32Avx512 load_u8_first(const uint8_t* p, int n) {
    return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(MaskAvx512::first(n).v, p))};
  }
  EDGELANE_INLINE void store(int32_t* p) const { _mm512_store_si512(p, v); }
  EDGELANE_INLINE void storeu(void* p) const { _mm512_storeu_si512(p, v); }
  EDGELANE_INLINE void store_mask(void* p, uint32_t bits) const { _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(bits), v); }
  EDGELANE_INLINE void store_first(void* p, int n) const { _mm512_mask_storeu_epi32(p, MaskAvx512::first(n).v, v); }
  // The lanes, which hold 0 to 255, as bytes.
  EDGELANE_INLINE void store_u8(uint8_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }
  EDGELANE_INLINE void store_u8_first(uint8_t* p, int n) const {
    _mm_mask_storeu_epi8(p, MaskAvx512::first(n).v, _mm512_cvtepi32_epi8(v));
  }
  EDGELANE_INLINE VecF32Avx512 to_float() const;
  EDGELANE_INLINE VecF32Avx512 bitcast() const;
  template <int N>
  EDGELANE_INLINE VecI32Avx512 shl() const {
    return {_mm512_slli_epi32(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx512 shr() const {
    return {_mm512_srli_epi32(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx512 sar() const {
    return {_mm512_srai_epi32(v, N)};
  }
  // The same bits as 16-bit words, twice as many lanes; multiply_pairs adds the products of neighbouring words.
  template <int N>
  EDGELANE_INLINE VecI32Avx512 shl_words() const {
    return {_mm512_slli_epi16(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx512 shr_words() const {
    return {_mm512_srli_epi16(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx512 sar_words() const {
    return {_mm512_srai_epi16(v, N)};
  }
  friend EDGELANE_INLINE VecI32Avx512 multiply_pairs(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_madd_epi16(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 interleave_bytes_low(VecI32Avx512 a, VecI32Avx512 b) {
    return {_mm512_unpacklo_epi8(a.v, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx512 interleave_bytes_high(VecI32Avx512 a, VecI32Avx512 b) {
    return {_mm512_unpackhi_epi8(a.v, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx512 interleave_words_low(VecI32Avx512 a, VecI32Avx512 b) {
    return {_mm512_unpacklo_epi16(a.v, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx512 interleave_words_high(VecI32Avx512 a, VecI32Avx512 b) {
    return {_mm512_unpackhi_epi16(a.v, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx512 pack_bytes(VecI32Avx512 a, VecI32Avx512 b, VecI32Avx512 c, VecI32Avx512 d) {
    return {_mm512_packus_epi16(_mm512_packs_epi32(a.v, b.v), _mm512_packs_epi32(c.v, d.v))};
  }
  friend EDGELANE_INLINE VecI32Avx512 in_register(VecI32Avx512 a) {
    asm("" : "+v"(a.v));
    return a;
  }
  friend EDGELANE_INLINE VecI32Avx512 even_lanes(VecI32Avx512 a, VecI32Avx512 b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return {_mm512_permutex2var_epi32(a.v, even, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx512 odd_lanes(VecI32Avx512 a, VecI32Avx512 b) {
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return {_mm512_permutex2var_epi32(a.v, odd, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx512 operator+(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_add_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 operator-(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 operator*(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 operator&(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_and_si512(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 operator|(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_or_si512(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 operator^(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_xor_si512(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 min(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_min_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 max(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_max_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx512 operator<(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_cmplt_epi32_mask(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx512 operator==(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 pack_s8(VecI32Avx512 a, VecI32Avx512 b, VecI32Avx512 c, VecI32Avx512 d, int32_t zero) {
    __m512i ab = _mm512_packs_epi32(a.v, b.v), cd = _mm512_packs_epi32(c.v, d.v);
    if (zero != 0) {
      const __m512i shift = _mm512_set1_epi16(static_cast<int16_t>(zero));
      ab = _mm512_adds_epi16(ab, shift);
      cd = _mm512_adds_epi16(cd, shift);
    }
    // In each 128-bit part: four bytes of a, of b, of c, of d.
    const __m512i order = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
    return {_mm512_shuffle_epi8(_mm512_packs_epi16(ab, cd), order)};
  }
  friend EDGELANE_INLINE VecI32Avx512 min_bytes(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_min_epi8(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx512 max_bytes(VecI32Avx512 a, VecI32Avx512 b) { return {_mm512_max_epi8(a.v, b.v)}; }
  template <int N>
  EDGELANE_INLINE VecI32Avx512 with_low_byte(VecI32Avx512 b) const {
    constexpr __mmask64 kLowest = 0x1111111111111111;
    return {_mm512_mask_shuffle_epi8(v, kLowest, b.v, _mm512_set4_epi32(N + 12, N + 8, N + 4, N))};
  }
  friend EDGELANE_INLINE VecI32Avx512 select(MaskAvx512 m, VecI32Avx512 a, VecI32Avx512 b) {
    return {_mm512_mask_blend_epi32(m.v, b.v, a.v)};
  }
};

struct VecF32Avx512 {
  static constexpr int width = 16;
  using Int = VecI32Avx512;
  using Mask = MaskAvx512;
  __m512 v;

  static EDGELANE_INLINE VecF32Avx512 zero() { return {_mm512_setzero_ps()}; }
  static EDGELANE_INLINE VecF32Avx512 broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static EDGELANE_INLINE VecF32Avx512 load(const float* p) { return {_mm512_load_ps(p)}; }
  static EDGELANE_INLINE VecF32Avx512 loadu(const float* p) { return {_mm512_loadu_ps(p)}; }
  static EDGELANE_INLINE VecF32Avx512 load_mask(const float* p, uint32_t bits) {
    return {_mm512_maskz_loadu_ps(static_cast<__mmask16>(bits), p)};
  }
  static EDGELANE_INLINE VecF32Avx512 load_first(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(MaskAvx512::first(n).v, p)};
  }
  EDGELANE_INLINE void store(float* p) const { _mm512_store_ps(p, v); }
  EDGELANE_INLINE void storeu(float* p) const { _mm512_storeu_ps(p, v); }
  EDGELANE_INLINE void store_mask(float* p, uint32_t bits) const { _mm512_mask_storeu_ps(p, static_cast<__mmask16>(bits), v); }
  EDGELANE_INLINE void store_first(float* p, int n) const { _mm512_mask_storeu_ps(p, MaskAvx512::first(n).v, v); }
  EDGELANE_INLINE VecI32Avx512 to_int() const { return {_mm512_cvtps_epi32(v)}; }
  EDGELANE_INLINE VecI32Avx512 bitcast() const { return {_mm512_castps_si512(v)}; }
  EDGELANE_INLINE float reduce_add() const { return _mm512_reduce_add_ps(v); }
  EDGELANE_INLINE float reduce_max() const { return _mm512_reduce_max_ps(v); }
  friend EDGELANE_INLINE VecF32Avx512 operator+(VecF32Avx512 a, VecF32Avx512 b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 operator-(VecF32Avx512 a, VecF32Avx512 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 operator*(VecF32Avx512 a, VecF32Avx512 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 operator/(VecF32Avx512 a, VecF32Avx512 b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 min(VecF32Avx512 a, VecF32Avx512 b) { return {_mm512_min_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 max(VecF32Avx512 a, VecF32Avx512 b) { return {_mm512_max_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 sqrt(VecF32Avx512 a) { return {_mm512_sqrt_ps(a.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 abs(VecF32Avx512 a) { return {_mm512_abs_ps(a.v)}; }
  friend EDGELANE_INLINE VecF32Avx512 round_even(VecF32Avx512 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  friend EDGELANE_INLINE VecF32Avx512 floor(VecF32Avx512 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
  }
  friend EDGELANE_INLINE VecF32Avx512 ceil(VecF32Avx512 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
  }
  friend EDGELANE_INLINE MaskAvx512 operator<(VecF32Avx512 a, VecF32Avx512 b) {
    return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
  }
  friend EDGELANE_INLINE MaskAvx512 operator<=(VecF32Avx512 a, VecF32Avx512 b) {
    return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
  }
  friend EDGELANE_INLINE MaskAvx512 operator==(VecF32Avx512 a, VecF32Avx512 b) {
    return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
  }
  friend EDGELANE_INLINE VecF32Avx512 select(MaskAvx512 m, VecF32Avx512 a, VecF32Avx512 b) {
    return {_mm512_mask_blend_ps(m.v, b.v, a.v)};
  }
  friend EDGELANE_INLINE VecF32Avx512 in_register(VecF32Avx512 a) {
    asm("" : "+v"(a.v));
    return a;
  }
  friend EDGELANE_INLINE VecF32Avx512 even_lanes(VecF32Avx512 a, VecF32Avx512 b) {
    return {_mm512_castsi512_ps(even_lanes(a.bitcast(), b.bitcast()).v)};
  }
  friend EDGELANE_INLINE VecF32Avx512 odd_lanes(VecF32Avx512 a, VecF32Avx512 b) {
    return {_mm512_castsi512_ps(odd_lanes(a.bitcast(), b.bitcast()).v)};
  }
  friend EDGELANE_INLINE VecF32Avx512 pick(VecF32Avx512 a, VecF32Avx512 b, VecI32Avx512 i) {
    return {_mm512_permutex2var_ps(a.v, i.v, b.v)};
  }
  friend EDGELANE_INLINE VecF32Avx512 interleave_low(VecF32Avx512 a, VecF32Avx512 b) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return {_mm512_permutex2var_ps(a.v, low, b.v)};
  }
  friend EDGELANE_INLINE VecF32Avx512 interleave_high(VecF32Avx512 a, VecF32Avx512 b) {
    const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return {_mm512_permutex2var_ps(a.v, high, b.v)};
  }
  friend EDGELANE_INLINE VecF32Avx512 muladd(VecF32Avx512 a, VecF32Avx512 b, VecF32Avx512 c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
};

EDGELANE_INLINE VecF32Avx512 VecI32Avx512::to_float() const { return {_mm512_cvtepi32_ps(v)}; }
EDGELANE_INLINE VecF32Avx512 VecI32Avx512::bitcast() const { return {_mm512_castsi512_ps(v)}; }

}  // namespace
}  // namespace edgelane
