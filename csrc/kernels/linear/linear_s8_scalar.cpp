// int8 linear layers for any CPU.
#include <cstring>

#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/linear/gemm.hpp"

namespace edgelane {
namespace {

struct QuadLinear {
  using Float = VecF32Scalar;
  using Acc = VecI32Scalar;
  struct Input {
    uint8_t v[kChannelGroup];
  };
  struct Weight {
    int8_t v[4][kChannelGroup];
  };
  static constexpr bool kInt8 = true;
  static constexpr int kInputBias = kActivationBias;
  static constexpr int kStepBytes = kChannelGroup;
  static EDGELANE_INLINE Input broadcast(const uint8_t* p) {
    Input x;
    std::memcpy(x.v, p, sizeof x.v);
    return x;
  }
  static EDGELANE_INLINE Weight load(const uint8_t* p) {
    Weight w;
    std::memcpy(w.v, p, sizeof w.v);
    return w;
  }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, const Weight& w) {
    for (int lane = 0; lane < 4; ++lane)
      for (int c = 0; c < kChannelGroup; ++c) acc.v[lane] = wrapping_add(acc.v[lane], x.v[c] * w.v[lane][c]);
    return acc;
  }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH QuadLinear
#define EDGELANE_LINE_linear_s8_scalar EDGELANE_DEFINE_LINEAR
#include "kernels/linear/kernel_lines.hpp"
