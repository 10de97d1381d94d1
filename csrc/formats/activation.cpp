#include "formats/activation.hpp"

#include <algorithm>
#include <cmath>

namespace edgelane {

const char* activation_name(ActivationKind kind) noexcept {
  static constexpr const char* kNames[kActivationKinds] = {
      "none",  "relu",      "clip",        "leaky_relu", "elu",    "sigmoid", "hard_sigmoid", "hard_swish", "silu",
      "tanh",  "gelu",      "mish",        "softplus",   "exp",    "sqrt",    "abs",          "neg",        "erf",
      "log",   "gelu_tanh", "reciprocal",  "floor",      "ceil",   "square",  "rsqrt",        "round",      "sign",
      "sin",   "cos",       "tan",         "asin",       "acos",   "atan",    "sinh",         "cosh",       "asinh",
      "acosh", "atanh",     "logical_not", "is_nan",     "is_inf",
  };
  const int i = static_cast<int>(kind);
  return i >= 0 && i < kActivationKinds ? kNames[i] : "unknown";
}

namespace {

float sigmoid(float x) {
  // exp of a negative number only, so that nothing overflows and small results keep their relative accuracy.
  if (x >= 0.0f) return 1.0f / (1.0f + std::exp(-x));
  const float e = std::exp(x);
  return e / (1.0f + e);
}

float softplus(float x) { return (x > 0.0f ? x : 0.0f) + std::log1p(std::exp(-std::fabs(x))); }

// -infinity times a gate that is shut gives 0, the limit, where the product alone is NaN.
float gated(float x, float gate) { return gate == 0.0f ? 0.0f : x * gate; }

// Written as comparisons that a vector unit has (a > b ? a : b); a NaN passes through.
float at_least(float x, float low) { return x < low ? low : x; }
float at_most(float x, float high) { return x > high ? high : x; }

}  // namespace

float activate(float x, const Activation& a) noexcept {
  constexpr float kSqrtHalf = 0.70710678118654752f, kSqrt2OverPi = 0.79788456080286536f;
  switch (a.kind) {
    case ActivationKind::none:
      return x;
    case ActivationKind::relu:
      return at_least(x, 0.0f);
    case ActivationKind::clip:
      return at_most(at_least(x, a.alpha), a.beta);
    case ActivationKind::leaky_relu:
      return x < 0.0f ? a.alpha * x : x;
    case ActivationKind::elu:
      return x < 0.0f ? a.alpha * std::expm1(x) : x;
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::hard_sigmoid:
      return at_most(at_least(a.alpha * x + a.beta, 0.0f), 1.0f);
    case ActivationKind::hard_swish:
      return x * at_most(at_least(x * (1.0f / 6.0f) + 0.5f, 0.0f), 1.0f);
    case ActivationKind::silu:
      return gated(x, sigmoid(x));
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::gelu:
      return gated(x, 0.5f * (1.0f + std::erf(x * kSqrtHalf)));
    case ActivationKind::mish:
      return x * std::tanh(softplus(x));
    case ActivationKind::softplus:
      return softplus(x);
    case ActivationKind::exp:
      return std::exp(x);
    case ActivationKind::sqrt:
      return std::sqrt(x);
    case ActivationKind::abs:
      return std::fabs(x);
    case ActivationKind::neg:
      return -x;
    case ActivationKind::erf:
      return std::erf(x);
    case ActivationKind::log:
      return std::log(x);
    case ActivationKind::gelu_tanh:
      return gated(x, 0.5f * (1.0f + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x))));
    case ActivationKind::reciprocal:
      return 1.0f / x;
    case ActivationKind::floor:
      return std::floor(x);
    case ActivationKind::ceil:
      return std::ceil(x);
    case ActivationKind::square:
      return x * x;
    case ActivationKind::rsqrt:
      return 1.0f / std::sqrt(x);
    case ActivationKind::round:
      return std::nearbyint(x);
    case ActivationKind::sign:
      return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
    case ActivationKind::sin:
      return std::sin(x);
    case ActivationKind::cos:
      return std::cos(x);
    case ActivationKind::tan:
      return std::tan(x);
    case ActivationKind::asin:
      return std::asin(x);
    case ActivationKind::acos:
      return std::acos(x);
    case ActivationKind::atan:
      return std::atan(x);
    case ActivationKind::sinh:
      return std::sinh(x);
    case ActivationKind::cosh:
      return std::cosh(x);
    case ActivationKind::asinh:
      return std::asinh(x);
    case ActivationKind::acosh:
      return std::acosh(x);
    case ActivationKind::atanh:
      return std::atanh(x);
    case ActivationKind::logical_not:
    case ActivationKind::is_nan:
    case ActivationKind::is_inf:
      break;
  }
  return x;
}

}  // namespace edgelane
