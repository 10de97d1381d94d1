// int8 dot products of quads by x86's vpdpbusd: unsigned bytes (inputs as they are stored) times signed ones, four exact products
// added to each lane, wrapping around. Included by *_avx_vnni.cpp with V = VecF32Avx2 and *_avx512_vnni.cpp with VecF32Avx512.
#pragma once

#include <cstdint>

#include "formats/layout.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

#if defined(__AVX512VNNI__)
EDGELANE_INLINE __m512i dot_quads(__m512i acc, __m512i x, __m512i w) { return _mm512_dpbusd_epi32(acc, x, w); }
#else
EDGELANE_INLINE __m256i dot_quads(__m256i acc, __m256i x, __m256i w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
#endif

template <class V>
struct VnniDot {
  using Float = V;
  using Acc = typename V::Int;
  using Inputs = Acc;   // a quad of inputs in each lane
  using Weights = Acc;  // a quad of weights in each lane
  using Input = Acc;    // one quad in all lanes
  using Weight = Acc;
  static constexpr int kInputBias = kActivationBias;
  static EDGELANE_INLINE Inputs load_inputs(const uint8_t* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE Weights load_weights(const uint8_t* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE Inputs inputs(Acc stored) { return stored; }
  static EDGELANE_INLINE Weights weights(Acc stored) { return stored; }
  static EDGELANE_INLINE Input broadcast_input(const uint8_t* p) { return broadcast_quad(p); }
  static EDGELANE_INLINE Weight broadcast_weight(const uint8_t* p) { return broadcast_quad(p); }
  // in_register: where a loop has several sums for each result, GCC 12 would copy every sum before and after the instruction.
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Acc x, Acc w) { return in_register(Acc{dot_quads(acc.v, x.v, w.v)}); }

 private:
  static EDGELANE_INLINE Acc broadcast_quad(const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, sizeof quad);
    return Acc::broadcast(quad);
  }
};

}  // namespace
}  // namespace edgelane
