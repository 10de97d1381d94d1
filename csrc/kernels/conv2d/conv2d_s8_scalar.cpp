// int8 strip convolution for any CPU.
#include <cstring>

#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/conv2d/strip.hpp"

namespace edgelane {
namespace {

struct QuadPath {
  using Float = VecF32Scalar;
  using Acc = VecI32Scalar;
  struct Input {
    uint8_t v[4][kChannelGroup];
  };
  struct Weight {
    int8_t v[kChannelGroup];
  };
  static constexpr bool kInt8 = true;
  static constexpr int kInputBias = kActivationBias;
  static constexpr WeightForm kForm = WeightForm::s8_quad;
  static EDGELANE_INLINE Input load(const uint8_t* p) {
    Input x;
    std::memcpy(x.v, p, sizeof x.v);
    return x;
  }
  static EDGELANE_INLINE Weight broadcast(const uint8_t* p) {
    Weight w;
    std::memcpy(w.v, p, sizeof w.v);
    return w;
  }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, const Input& x, Weight w) {
    for (int lane = 0; lane < 4; ++lane)
      for (int c = 0; c < kChannelGroup; ++c) acc.v[lane] = wrapping_add(acc.v[lane], x.v[lane][c] * w.v[c]);
    return acc;
  }
  static EDGELANE_INLINE Acc load_sum(const void* p) { return Acc::loadu(p); }
  static EDGELANE_INLINE void store_sum(void* p, Acc acc) { acc.storeu(p); }
};

}  // namespace
}  // namespace edgelane

#define EDGELANE_PATH QuadPath
#define EDGELANE_LINE_conv2d_s8_scalar EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
