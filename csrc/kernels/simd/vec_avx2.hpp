// Vectors of eight for AVX2 with FMA; the interface is described in vec_scalar.hpp. Include only from *_avx2.cpp and
// *_avx_vnni.cpp.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

struct MaskAvx2 {
  __m256i v;  // all ones or all zeros in each lane
  static EDGELANE_INLINE MaskAvx2 of(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return {_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane), lane)};
  }
  static EDGELANE_INLINE MaskAvx2 first(int n) {
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))};
  }
  friend EDGELANE_INLINE MaskAvx2 operator&(MaskAvx2 a, MaskAvx2 b) { return {_mm256_and_si256(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx2 operator|(MaskAvx2 a, MaskAvx2 b) { return {_mm256_or_si256(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx2 operator!(MaskAvx2 a) { return {_mm256_xor_si256(a.v, _mm256_set1_epi32(-1))}; }
};

struct VecF32Avx2;

struct VecI32Avx2 {
  static constexpr int width = 8;
  __m256i v;

  static EDGELANE_INLINE VecI32Avx2 zero() { return {_mm256_setzero_si256()}; }
  static EDGELANE_INLINE VecI32Avx2 broadcast(int32_t x) { return {_mm256_set1_epi32(x)}; }
  static EDGELANE_INLINE VecI32Avx2 load(const int32_t* p) { return {_mm256_load_si256(reinterpret_cast<const __m256i*>(p))}; }
  static EDGELANE_INLINE VecI32Avx2 loadu(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
  static EDGELANE_INLINE VecI32Avx2 load_mask(const void* p, uint32_t bits) {
    return {_mm256_maskload_epi32(static_cast<const int*>(p), MaskAvx2::of(bits).v)};
  }
  static EDGELANE_INLINE VecI32Avx2 load_first(const void* p, int n) {
    return {_mm256_maskload_epi32(static_cast<const int*>(p), MaskAvx2::first(n).v)};
  }
  // Eight bytes, zero-extended.
  static EDGELANE_INLINE VecI32Avx2 load_u8(const uint8_t* p) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
  }
  static EDGELANE_INLINE VecI32Avx2 load_u8_first(const uint8_t* p, int n) {
    if (n >= 8) return load_u8(p);
    alignas(8) uint8_t bytes[8] = {};
    for (int i = 0; i < n; ++i) bytes[i] = p[i];
    return load_u8(bytes);
  }
  EDGELANE_INLINE void store(int32_t* p) const { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); }
  EDGELANE_INLINE void storeu(void* p) const { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  EDGELANE_INLINE void store_mask(void* p, uint32_t bits) const {
    _mm256_maskstore_epi32(static_cast<int*>(p), MaskAvx2::of(bits).v, v);
  }
  EDGELANE_INLINE void store_first(void* p, int n) const {
    _mm256_maskstore_epi32(static_cast<int*>(p), MaskAvx2::first(n).v, v);
  }
  // The lanes, which hold 0 to 255, as bytes.
  EDGELANE_INLINE void store_u8(uint8_t* p) const { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes()); }
  EDGELANE_INLINE void store_u8_first(uint8_t* p, int n) const {
    if (n >= 8) return store_u8(p);
    alignas(16) uint8_t all[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(all), bytes());
    for (int i = 0; i < n; ++i) p[i] = all[i];
  }
  EDGELANE_INLINE VecF32Avx2 to_float() const;
  EDGELANE_INLINE VecF32Avx2 bitcast() const;
  template <int N>
  EDGELANE_INLINE VecI32Avx2 shl() const {
    return {_mm256_slli_epi32(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx2 shr() const {
    return {_mm256_srli_epi32(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx2 sar() const {
    return {_mm256_srai_epi32(v, N)};
  }
  // The same bits as 16-bit words, twice as many lanes; multiply_pairs adds the products of neighbouring words.
  template <int N>
  EDGELANE_INLINE VecI32Avx2 shl_words() const {
    return {_mm256_slli_epi16(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx2 shr_words() const {
    return {_mm256_srli_epi16(v, N)};
  }
  template <int N>
  EDGELANE_INLINE VecI32Avx2 sar_words() const {
    return {_mm256_srai_epi16(v, N)};
  }
  friend EDGELANE_INLINE VecI32Avx2 multiply_pairs(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_madd_epi16(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 interleave_bytes_low(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_unpacklo_epi8(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 interleave_bytes_high(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_unpackhi_epi8(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 interleave_words_low(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_unpacklo_epi16(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 interleave_words_high(VecI32Avx2 a, VecI32Avx2 b) {
    return {_mm256_unpackhi_epi16(a.v, b.v)};
  }
  friend EDGELANE_INLINE VecI32Avx2 pack_bytes(VecI32Avx2 a, VecI32Avx2 b, VecI32Avx2 c, VecI32Avx2 d) {
    return {_mm256_packus_epi16(_mm256_packs_epi32(a.v, b.v), _mm256_packs_epi32(c.v, d.v))};
  }
  friend EDGELANE_INLINE VecI32Avx2 in_register(VecI32Avx2 a) {
    asm("" : "+x"(a.v));
    return a;
  }
  friend EDGELANE_INLINE VecI32Avx2 even_lanes(VecI32Avx2 a, VecI32Avx2 b) { return {pick<0x88>(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 odd_lanes(VecI32Avx2 a, VecI32Avx2 b) { return {pick<0xdd>(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 operator+(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_add_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 operator-(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 operator*(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 operator&(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_and_si256(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 operator|(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_or_si256(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 operator^(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_xor_si256(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 min(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_min_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 max(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_max_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE MaskAvx2 operator<(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_cmpgt_epi32(b.v, a.v)}; }
  friend EDGELANE_INLINE MaskAvx2 operator==(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_cmpeq_epi32(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 pack_s8(VecI32Avx2 a, VecI32Avx2 b, VecI32Avx2 c, VecI32Avx2 d, int32_t zero) {
    __m256i ab = _mm256_packs_epi32(a.v, b.v), cd = _mm256_packs_epi32(c.v, d.v);
    if (zero != 0) {
      const __m256i shift = _mm256_set1_epi16(static_cast<int16_t>(zero));
      ab = _mm256_adds_epi16(ab, shift);
      cd = _mm256_adds_epi16(cd, shift);
    }
    // In each 128-bit part: four bytes of a, of b, of c, of d.
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return {_mm256_shuffle_epi8(_mm256_packs_epi16(ab, cd), order)};
  }
  friend EDGELANE_INLINE VecI32Avx2 min_bytes(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_min_epi8(a.v, b.v)}; }
  friend EDGELANE_INLINE VecI32Avx2 max_bytes(VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_max_epi8(a.v, b.v)}; }
  template <int N>
  EDGELANE_INLINE VecI32Avx2 with_low_byte(VecI32Avx2 b) const {
    const __m128i byte = _mm_setr_epi8(N, -1, -1, -1, N + 4, -1, -1, -1, N + 8, -1, -1, -1, N + 12, -1, -1, -1);
    return {_mm256_or_si256(v, _mm256_shuffle_epi8(b.v, _mm256_broadcastsi128_si256(byte)))};
  }
  friend EDGELANE_INLINE VecI32Avx2 select(MaskAvx2 m, VecI32Avx2 a, VecI32Avx2 b) { return {_mm256_blendv_epi8(b.v, a.v, m.v)}; }

 private:
  // Two lanes of each half of a and of b, in the order of memory.
  template <int Which>
  static EDGELANE_INLINE __m256i pick(__m256i a, __m256i b) {
    const __m256 halves = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), Which);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(halves), 0xd8);
  }
  EDGELANE_INLINE __m128i bytes() const {
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_packus_epi16(words, words);
  }
};

struct VecF32Avx2 {
  static constexpr int width = 8;
  using Int = VecI32Avx2;
  using Mask = MaskAvx2;
  __m256 v;

  static EDGELANE_INLINE VecF32Avx2 zero() { return {_mm256_setzero_ps()}; }
  static EDGELANE_INLINE VecF32Avx2 broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static EDGELANE_INLINE VecF32Avx2 load(const float* p) { return {_mm256_load_ps(p)}; }
  static EDGELANE_INLINE VecF32Avx2 loadu(const float* p) { return {_mm256_loadu_ps(p)}; }
  static EDGELANE_INLINE VecF32Avx2 load_mask(const float* p, uint32_t bits) {
    return {_mm256_maskload_ps(p, MaskAvx2::of(bits).v)};
  }
  static EDGELANE_INLINE VecF32Avx2 load_first(const float* p, int n) { return {_mm256_maskload_ps(p, MaskAvx2::first(n).v)}; }
  EDGELANE_INLINE void store(float* p) const { _mm256_store_ps(p, v); }
  EDGELANE_INLINE void storeu(float* p) const { _mm256_storeu_ps(p, v); }
  EDGELANE_INLINE void store_mask(float* p, uint32_t bits) const { _mm256_maskstore_ps(p, MaskAvx2::of(bits).v, v); }
  EDGELANE_INLINE void store_first(float* p, int n) const { _mm256_maskstore_ps(p, MaskAvx2::first(n).v, v); }
  EDGELANE_INLINE VecI32Avx2 to_int() const { return {_mm256_cvtps_epi32(v)}; }
  EDGELANE_INLINE VecI32Avx2 bitcast() const { return {_mm256_castps_si256(v)}; }
  EDGELANE_INLINE float reduce_add() const {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  EDGELANE_INLINE float reduce_max() const {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }
  friend EDGELANE_INLINE VecF32Avx2 operator+(VecF32Avx2 a, VecF32Avx2 b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 operator-(VecF32Avx2 a, VecF32Avx2 b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 operator*(VecF32Avx2 a, VecF32Avx2 b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 operator/(VecF32Avx2 a, VecF32Avx2 b) { return {_mm256_div_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 min(VecF32Avx2 a, VecF32Avx2 b) { return {_mm256_min_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 max(VecF32Avx2 a, VecF32Avx2 b) { return {_mm256_max_ps(a.v, b.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 sqrt(VecF32Avx2 a) { return {_mm256_sqrt_ps(a.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 abs(VecF32Avx2 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 round_even(VecF32Avx2 a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  friend EDGELANE_INLINE VecF32Avx2 floor(VecF32Avx2 a) { return {_mm256_floor_ps(a.v)}; }
  friend EDGELANE_INLINE VecF32Avx2 ceil(VecF32Avx2 a) { return {_mm256_ceil_ps(a.v)}; }
  friend EDGELANE_INLINE MaskAvx2 operator<(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
  }
  friend EDGELANE_INLINE MaskAvx2 operator<=(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ))};
  }
  friend EDGELANE_INLINE MaskAvx2 operator==(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ))};
  }
  friend EDGELANE_INLINE VecF32Avx2 select(MaskAvx2 m, VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(m.v))};
  }
  friend EDGELANE_INLINE VecF32Avx2 in_register(VecF32Avx2 a) {
    asm("" : "+x"(a.v));
    return a;
  }
  friend EDGELANE_INLINE VecF32Avx2 even_lanes(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_castsi256_ps(even_lanes(a.bitcast(), b.bitcast()).v)};
  }
  friend EDGELANE_INLINE VecF32Avx2 odd_lanes(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_castsi256_ps(odd_lanes(a.bitcast(), b.bitcast()).v)};
  }
  friend EDGELANE_INLINE VecF32Avx2 pick(VecF32Avx2 a, VecF32Avx2 b, VecI32Avx2 i) {
    const __m256 of_b = _mm256_castsi256_ps(_mm256_slli_epi32(i.v, 28));  // the sign is bit 3
    return {_mm256_blendv_ps(_mm256_permutevar8x32_ps(a.v, i.v), _mm256_permutevar8x32_ps(b.v, i.v), of_b)};
  }
  friend EDGELANE_INLINE VecF32Avx2 interleave_low(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_permute2f128_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v), 0x20)};
  }
  friend EDGELANE_INLINE VecF32Avx2 interleave_high(VecF32Avx2 a, VecF32Avx2 b) {
    return {_mm256_permute2f128_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v), 0x31)};
  }
  friend EDGELANE_INLINE VecF32Avx2 muladd(VecF32Avx2 a, VecF32Avx2 b, VecF32Avx2 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
};

EDGELANE_INLINE VecF32Avx2 VecI32Avx2::to_float() const { return {_mm256_cvtepi32_ps(v)}; }
EDGELANE_INLINE VecF32Avx2 VecI32Avx2::bitcast() const { return {_mm256_castsi256_ps(v)}; }

}  // namespace
}  // namespace edgelane
