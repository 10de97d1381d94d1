// Vectors of four for any CPU: the portable form of vec_avx2.hpp, vec_avx512.hpp and vec_neon.hpp, with the same members and the
// same results.
//
// The headers define one interface, so that an algorithm is one template over the float vector type V:
//   V::load/loadu/load_first(p, n)/load_mask(p, bits)      lanes that are not loaded are 0
//   v.store/storeu/store_first(p, n)/store_mask(p, bits)   bit i of `bits` is lane i
//   min(a, b) is a < b ? a : b and max(a, b) is a > b ? a : b: where either is NaN, the result is b
//   round_even, floor, ceil, to_int (rounds halves to even; |x| < 2^31), V::Int::to_float, bitcast both ways
//   muladd(a, b, c) is a * b + c, rounded once or twice
//   pack_s8(a, b, c, d, zero): lane i holds, from its lowest byte on, a[i] + zero, b[i] + zero, ..., saturated to -128..127
//   V::Int only: min_bytes and max_bytes of signed bytes; a.with_low_byte<N>(b) is a, whose lowest byte is 0, plus byte N of b
//   in_register(a) is a; GCC then keeps it in a register, where it would else load a value again for each of its uses
//   even_lanes(a, b), odd_lanes(a, b): of the lanes of a and then b, those at even or odd places
//   V only: interleave_low/high(a, b) take turns between a and b in the lower or upper half; pick(a, b, i): of the lanes of a and
//   then b, those with the numbers in i
//   V::Int only, within each block of 16 bytes: interleave_bytes_low/high and interleave_words_low/high take turns between a and
//   b in the lower or upper half; pack_bytes(a, b, c, d) makes bytes of the lanes, which hold 0 to 255: a's, b's, c's and d's
//   a < b, a <= b, a == b give V::Mask; V::Mask::of(bits), V::Mask::first(n), m & n, m | n, !m; select(m, a, b) is m ? a : b
// Everything is in an anonymous namespace: a template that is instantiated with one of these types belongs to its own source
// file, and code compiled for one instruction set can never be linked into another one's place.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

struct MaskScalar {
  bool v[4];
  static EDGELANE_INLINE MaskScalar of(uint32_t bits) {
    return {{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0}};
  }
  static EDGELANE_INLINE MaskScalar first(int n) { return {{n > 0, n > 1, n > 2, n > 3}}; }
  friend EDGELANE_INLINE MaskScalar operator&(MaskScalar a, MaskScalar b) {
    return {{a.v[0] && b.v[0], a.v[1] && b.v[1], a.v[2] && b.v[2], a.v[3] && b.v[3]}};
  }
  friend EDGELANE_INLINE MaskScalar operator|(MaskScalar a, MaskScalar b) {
    return {{a.v[0] || b.v[0], a.v[1] || b.v[1], a.v[2] || b.v[2], a.v[3] || b.v[3]}};
  }
  friend EDGELANE_INLINE MaskScalar operator!(MaskScalar a) { return {{!a.v[0], !a.v[1], !a.v[2], !a.v[3]}}; }
};

// One lane-wise operation: EXPR is over a.v[i] and b.v[i].
#define EDGELANE_LANES(TYPE, EXPR)             \
  {                                            \
    TYPE r;                                    \
    for (int i = 0; i < 4; ++i) r.v[i] = EXPR; \
    return r;                                  \
  }

struct VecF32Scalar;

struct VecI32Scalar {
  static constexpr int width = 4;
  int32_t v[4];

  static EDGELANE_INLINE VecI32Scalar zero() { return broadcast(0); }
  static EDGELANE_INLINE VecI32Scalar broadcast(int32_t x) { return {{x, x, x, x}}; }
  static EDGELANE_INLINE VecI32Scalar load(const int32_t* p) { return loadu(p); }
  static EDGELANE_INLINE VecI32Scalar loadu(const void* p) {
    VecI32Scalar r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static EDGELANE_INLINE VecI32Scalar load_mask(const void* p, uint32_t bits) {
    VecI32Scalar r = zero();
    for (int i = 0; i < 4; ++i)
      if (bits >> i & 1) std::memcpy(&r.v[i], static_cast<const char*>(p) + 4 * i, 4);
    return r;
  }
  static EDGELANE_INLINE VecI32Scalar load_first(const void* p, int n) { return load_mask(p, n >= 4 ? 15u : (1u << n) - 1); }
  // Four bytes, zero-extended.
  static EDGELANE_INLINE VecI32Scalar load_u8(const uint8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static EDGELANE_INLINE VecI32Scalar load_u8_first(const uint8_t* p, int n) {
    VecI32Scalar r = zero();
    for (int i = 0; i < n && i < 4; ++i) r.v[i] = p[i];
    return r;
  }
  EDGELANE_INLINE void store(int32_t* p) const { storeu(p); }
  EDGELANE_INLINE void storeu(void* p) const { std::memcpy(p, v, sizeof v); }
  EDGELANE_INLINE void store_mask(void* p, uint32_t bits) const {
    for (int i = 0; i < 4; ++i)
      if (bits >> i & 1) std::memcpy(static_cast<char*>(p) + 4 * i, &v[i], 4);
  }
  EDGELANE_INLINE void store_first(void* p, int n) const { store_mask(p, n >= 4 ? 15u : (1u << n) - 1); }
  // The lanes, which hold 0 to 255, as bytes.
  EDGELANE_INLINE void store_u8(uint8_t* p) const { store_u8_first(p, 4); }
  EDGELANE_INLINE void store_u8_first(uint8_t* p, int n) const {
    for (int i = 0; i < n && i < 4; ++i) p[i] = static_cast<uint8_t>(v[i]);
  }
  EDGELANE_INLINE VecF32Scalar to_float() const;
  EDGELANE_INLINE VecF32Scalar bitcast() const;
  template <int N>
  EDGELANE_INLINE VecI32Scalar shl() const {
    return {{static_cast<int32_t>(static_cast<uint32_t>(v[0]) << N), static_cast<int32_t>(static_cast<uint32_t>(v[1]) << N),
             static_cast<int32_t>(static_cast<uint32_t>(v[2]) << N), static_cast<int32_t>(static_cast<uint32_t>(v[3]) << N)}};
  }
  template <int N>  // zeros move in
  EDGELANE_INLINE VecI32Scalar shr() const {
    return {{static_cast<int32_t>(static_cast<uint32_t>(v[0]) >> N), static_cast<int32_t>(static_cast<uint32_t>(v[1]) >> N),
             static_cast<int32_t>(static_cast<uint32_t>(v[2]) >> N), static_cast<int32_t>(static_cast<uint32_t>(v[3]) >> N)}};
  }
  template <int N>  // the sign moves in
  EDGELANE_INLINE VecI32Scalar sar() const {
    return {{v[0] >> N, v[1] >> N, v[2] >> N, v[3] >> N}};
  }
  friend EDGELANE_INLINE VecI32Scalar in_register(VecI32Scalar a) { return a; }
  friend EDGELANE_INLINE VecI32Scalar even_lanes(VecI32Scalar a, VecI32Scalar b) { return {{a.v[0], a.v[2], b.v[0], b.v[2]}}; }
  friend EDGELANE_INLINE VecI32Scalar odd_lanes(VecI32Scalar a, VecI32Scalar b) { return {{a.v[1], a.v[3], b.v[1], b.v[3]}}; }
  friend EDGELANE_INLINE VecI32Scalar interleave_bytes_low(VecI32Scalar a, VecI32Scalar b) { return interleave<1>(a, b, 0); }
  friend EDGELANE_INLINE VecI32Scalar interleave_bytes_high(VecI32Scalar a, VecI32Scalar b) { return interleave<1>(a, b, 8); }
  friend EDGELANE_INLINE VecI32Scalar interleave_words_low(VecI32Scalar a, VecI32Scalar b) { return interleave<2>(a, b, 0); }
  friend EDGELANE_INLINE VecI32Scalar interleave_words_high(VecI32Scalar a, VecI32Scalar b) { return interleave<2>(a, b, 8); }
  friend EDGELANE_INLINE VecI32Scalar pack_bytes(VecI32Scalar a, VecI32Scalar b, VecI32Scalar c, VecI32Scalar d) {
    uint8_t bytes[16];
    for (int i = 0; i < 4; ++i) {
      bytes[i] = static_cast<uint8_t>(a.v[i]);
      bytes[4 + i] = static_cast<uint8_t>(b.v[i]);
      bytes[8 + i] = static_cast<uint8_t>(c.v[i]);
      bytes[12 + i] = static_cast<uint8_t>(d.v[i]);
    }
    return loadu(bytes);
  }
  // Sums and products wrap around, as the vector instructions do.
  friend EDGELANE_INLINE VecI32Scalar operator+(VecI32Scalar a, VecI32Scalar b)
      EDGELANE_LANES(VecI32Scalar, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i])));
  friend EDGELANE_INLINE VecI32Scalar operator-(VecI32Scalar a, VecI32Scalar b)
      EDGELANE_LANES(VecI32Scalar, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) - static_cast<uint32_t>(b.v[i])));
  friend EDGELANE_INLINE VecI32Scalar operator*(VecI32Scalar a, VecI32Scalar b)
      EDGELANE_LANES(VecI32Scalar, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) * static_cast<uint32_t>(b.v[i])));
  friend EDGELANE_INLINE VecI32Scalar operator&(VecI32Scalar a, VecI32Scalar b) EDGELANE_LANES(VecI32Scalar, a.v[i] & b.v[i]);
  friend EDGELANE_INLINE VecI32Scalar operator|(VecI32Scalar a, VecI32Scalar b) EDGELANE_LANES(VecI32Scalar, a.v[i] | b.v[i]);
  friend EDGELANE_INLINE VecI32Scalar operator^(VecI32Scalar a, VecI32Scalar b) EDGELANE_LANES(VecI32Scalar, a.v[i] ^ b.v[i]);
  friend EDGELANE_INLINE VecI32Scalar min(VecI32Scalar a, VecI32Scalar b)
      EDGELANE_LANES(VecI32Scalar, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
  friend EDGELANE_INLINE VecI32Scalar max(VecI32Scalar a, VecI32Scalar b)
      EDGELANE_LANES(VecI32Scalar, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
  friend EDGELANE_INLINE MaskScalar operator<(VecI32Scalar a, VecI32Scalar b) EDGELANE_LANES(MaskScalar, a.v[i] < b.v[i]);
  friend EDGELANE_INLINE MaskScalar operator==(VecI32Scalar a, VecI32Scalar b) EDGELANE_LANES(MaskScalar, a.v[i] == b.v[i]);
  friend EDGELANE_INLINE VecI32Scalar pack_s8(VecI32Scalar a, VecI32Scalar b, VecI32Scalar c, VecI32Scalar d, int32_t zero) {
    const auto byte = [zero](int32_t q) {
      const int32_t word = (q < -32768 ? -32768 : q > 32767 ? 32767 : q) + zero;
      return static_cast<int8_t>(word < -128 ? -128 : word > 127 ? 127 : word);
    };
    VecI32Scalar r;
    for (int i = 0; i < 4; ++i) {
      const int8_t quad[4] = {byte(a.v[i]), byte(b.v[i]), byte(c.v[i]), byte(d.v[i])};
      std::memcpy(&r.v[i], quad, 4);
    }
    return r;
  }
  friend EDGELANE_INLINE VecI32Scalar min_bytes(VecI32Scalar a, VecI32Scalar b) {
    return by_bytes(a, b, [](int8_t x, int8_t y) { return x < y ? x : y; });
  }
  friend EDGELANE_INLINE VecI32Scalar max_bytes(VecI32Scalar a, VecI32Scalar b) {
    return by_bytes(a, b, [](int8_t x, int8_t y) { return x > y ? x : y; });
  }
  template <int N>
  EDGELANE_INLINE VecI32Scalar with_low_byte(VecI32Scalar b) const {
    return *this | (b.shr<8 * N>() & broadcast(255));
  }
  friend EDGELANE_INLINE VecI32Scalar select(MaskScalar m, VecI32Scalar a, VecI32Scalar b)
      EDGELANE_LANES(VecI32Scalar, m.v[i] ? a.v[i] : b.v[i]);

 private:
  template <class F>
  static EDGELANE_INLINE VecI32Scalar by_bytes(VecI32Scalar a, VecI32Scalar b, const F& f) {
    int8_t x[sizeof a.v], y[sizeof a.v];
    std::memcpy(x, a.v, sizeof x);
    std::memcpy(y, b.v, sizeof y);
    for (size_t i = 0; i < sizeof x; ++i) x[i] = f(x[i], y[i]);
    std::memcpy(a.v, x, sizeof x);
    return a;
  }
  // Eight bytes of each from `first` on, in pieces of Size bytes.
  template <int Size>
  static EDGELANE_INLINE VecI32Scalar interleave(const VecI32Scalar& a, const VecI32Scalar& b, int first) {
    const char *from_a = reinterpret_cast<const char*>(a.v) + first, *from_b = reinterpret_cast<const char*>(b.v) + first;
    char bytes[16];
    for (int i = 0; i < 8; i += Size) {
      std::memcpy(bytes + 2 * i, from_a + i, Size);
      std::memcpy(bytes + 2 * i + Size, from_b + i, Size);
    }
    return loadu(bytes);
  }
};

struct VecF32Scalar {
  static constexpr int width = 4;
  using Int = VecI32Scalar;
  using Mask = MaskScalar;
  float v[4];

  static EDGELANE_INLINE VecF32Scalar zero() { return broadcast(0.0f); }
  static EDGELANE_INLINE VecF32Scalar broadcast(float x) { return {{x, x, x, x}}; }
  static EDGELANE_INLINE VecF32Scalar load(const float* p) { return loadu(p); }
  static EDGELANE_INLINE VecF32Scalar loadu(const float* p) {
    VecF32Scalar r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static EDGELANE_INLINE VecF32Scalar load_mask(const float* p, uint32_t bits) {
    VecF32Scalar r = zero();
    for (int i = 0; i < 4; ++i)
      if (bits >> i & 1) r.v[i] = p[i];
    return r;
  }
  static EDGELANE_INLINE VecF32Scalar load_first(const float* p, int n) { return load_mask(p, n >= 4 ? 15u : (1u << n) - 1); }
  EDGELANE_INLINE void store(float* p) const { storeu(p); }
  EDGELANE_INLINE void storeu(float* p) const { std::memcpy(p, v, sizeof v); }
  EDGELANE_INLINE void store_mask(float* p, uint32_t bits) const {
    for (int i = 0; i < 4; ++i)
      if (bits >> i & 1) p[i] = v[i];
  }
  EDGELANE_INLINE void store_first(float* p, int n) const { store_mask(p, n >= 4 ? 15u : (1u << n) - 1); }
  EDGELANE_INLINE VecI32Scalar to_int() const {
    VecI32Scalar r;  // what does not fit, NaN too, is the lowest number, as on x86
    for (int i = 0; i < 4; ++i)
      r.v[i] = v[i] >= -2147483648.0f && v[i] < 2147483648.0f ? static_cast<int32_t>(std::nearbyintf(v[i])) : INT32_MIN;
    return r;
  }
  EDGELANE_INLINE VecI32Scalar bitcast() const {
    VecI32Scalar r;
    std::memcpy(r.v, v, sizeof v);
    return r;
  }
  EDGELANE_INLINE float reduce_add() const { return (v[0] + v[1]) + (v[2] + v[3]); }
  EDGELANE_INLINE float reduce_max() const {
    float m = v[0];
    for (int i = 1; i < 4; ++i) m = m > v[i] ? m : v[i];
    return m;
  }
  friend EDGELANE_INLINE VecF32Scalar operator+(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(VecF32Scalar, a.v[i] + b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar operator-(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(VecF32Scalar, a.v[i] - b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar operator*(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(VecF32Scalar, a.v[i] * b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar operator/(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(VecF32Scalar, a.v[i] / b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar min(VecF32Scalar a, VecF32Scalar b)
      EDGELANE_LANES(VecF32Scalar, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar max(VecF32Scalar a, VecF32Scalar b)
      EDGELANE_LANES(VecF32Scalar, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar sqrt(VecF32Scalar a) EDGELANE_LANES(VecF32Scalar, std::sqrt(a.v[i]));
  friend EDGELANE_INLINE VecF32Scalar abs(VecF32Scalar a) EDGELANE_LANES(VecF32Scalar, std::fabs(a.v[i]));
  friend EDGELANE_INLINE VecF32Scalar round_even(VecF32Scalar a) EDGELANE_LANES(VecF32Scalar, std::nearbyintf(a.v[i]));
  friend EDGELANE_INLINE VecF32Scalar floor(VecF32Scalar a) EDGELANE_LANES(VecF32Scalar, std::floor(a.v[i]));
  friend EDGELANE_INLINE VecF32Scalar ceil(VecF32Scalar a) EDGELANE_LANES(VecF32Scalar, std::ceil(a.v[i]));
  friend EDGELANE_INLINE MaskScalar operator<(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(MaskScalar, a.v[i] < b.v[i]);
  friend EDGELANE_INLINE MaskScalar operator<=(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(MaskScalar, a.v[i] <= b.v[i]);
  friend EDGELANE_INLINE MaskScalar operator==(VecF32Scalar a, VecF32Scalar b) EDGELANE_LANES(MaskScalar, a.v[i] == b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar select(MaskScalar m, VecF32Scalar a, VecF32Scalar b)
      EDGELANE_LANES(VecF32Scalar, m.v[i] ? a.v[i] : b.v[i]);
  friend EDGELANE_INLINE VecF32Scalar in_register(VecF32Scalar a) { return a; }
  friend EDGELANE_INLINE VecF32Scalar even_lanes(VecF32Scalar a, VecF32Scalar b) { return {{a.v[0], a.v[2], b.v[0], b.v[2]}}; }
  friend EDGELANE_INLINE VecF32Scalar odd_lanes(VecF32Scalar a, VecF32Scalar b) { return {{a.v[1], a.v[3], b.v[1], b.v[3]}}; }
  friend EDGELANE_INLINE VecF32Scalar pick(VecF32Scalar a, VecF32Scalar b, VecI32Scalar i) {
    VecF32Scalar r;
    for (int k = 0; k < width; ++k) r.v[k] = i.v[k] < width ? a.v[i.v[k]] : b.v[i.v[k] - width];
    return r;
  }
  friend EDGELANE_INLINE VecF32Scalar interleave_low(VecF32Scalar a, VecF32Scalar b) {
    return {{a.v[0], b.v[0], a.v[1], b.v[1]}};
  }
  friend EDGELANE_INLINE VecF32Scalar interleave_high(VecF32Scalar a, VecF32Scalar b) {
    return {{a.v[2], b.v[2], a.v[3], b.v[3]}};
  }
  // a * b + c as one or two roundings, whichever is fast: for sums whose tolerance is derived from their length anyway.
  friend EDGELANE_INLINE VecF32Scalar muladd(VecF32Scalar a, VecF32Scalar b, VecF32Scalar c)
      EDGELANE_LANES(VecF32Scalar, a.v[i] * b.v[i] + c.v[i]);
};

#undef EDGELANE_LANES

EDGELANE_INLINE VecF32Scalar VecI32Scalar::to_float() const {
  return {{static_cast<float>(v[0]), static_cast<float>(v[1]), static_cast<float>(v[2]), static_cast<float>(v[3])}};
}
EDGELANE_INLINE VecF32Scalar VecI32Scalar::bitcast() const {
  VecF32Scalar r;
  std::memcpy(r.v, v, sizeof v);
  return r;
}

}  // namespace
}  // namespace edgelane
