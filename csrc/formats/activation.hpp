// Element-wise functions that a step may apply to its result; numbers as in export/FORMAT.md.
#pragma once

#include <cstdint>

namespace edgelane {

enum class ActivationKind : uint8_t {
  none = 0,
  relu,
  clip,
  leaky_relu,
  elu,
  sigmoid,
  hard_sigmoid,
  hard_swish,
  silu,
  tanh,
  gelu,
  mish,
  softplus,
  exp,
  sqrt,
  abs,
  neg,
  erf,
  log,
  gelu_tanh,
  reciprocal,
  floor,
  ceil,
  square,
  rsqrt,
  round,  // half to even
  sign,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
  // Of the unary step alone, for their dtypes differ: bool to bool, and float32 to bool.
  logical_not,
  is_nan,
  is_inf,  // alpha: whether -inf counts, beta: whether +inf does
};
constexpr int kActivationKinds = 41;
constexpr int kFusedActivationKinds = 38;  // those that any step may end in

struct Activation {
  ActivationKind kind = ActivationKind::none;
  float alpha = 0.0f, beta = 0.0f;
};

const char* activation_name(ActivationKind kind) noexcept;

// The defining scalar version (export/FORMAT.md, "Activations"), in float32 with the C library's functions.
float activate(float x, const Activation& a) noexcept;

}  // namespace edgelane
