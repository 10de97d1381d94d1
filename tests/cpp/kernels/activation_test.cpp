// The vector activations, reached through the unary kernels, against the C library's in double.
#include <limits>

#include "kernels/elementwise/elementwise.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

struct Range {
  ActivationKind kind;
  float alpha, beta, low, high;
};

constexpr Range kRanges[] = {
    {ActivationKind::none, 0, 0, -9, 9},
    {ActivationKind::relu, 0, 0, -9, 9},
    {ActivationKind::clip, -1, 6, -9, 9},
    {ActivationKind::leaky_relu, 0.1f, 0, -9, 9},
    {ActivationKind::elu, 1.5f, 0, -40, 5},
    {ActivationKind::sigmoid, 0, 0, -95, 95},
    {ActivationKind::hard_sigmoid, 0.2f, 0.5f, -9, 9},
    {ActivationKind::hard_swish, 0, 0, -9, 9},
    {ActivationKind::silu, 0, 0, -80, 80},
    {ActivationKind::tanh, 0, 0, -20, 20},
    {ActivationKind::gelu, 0, 0, -8, 8},
    {ActivationKind::mish, 0, 0, -60, 60},
    {ActivationKind::softplus, 0, 0, -80, 80},
    {ActivationKind::exp, 0, 0, -103, 88.7f},
    {ActivationKind::sqrt, 0, 0, 0, 1e4f},
    {ActivationKind::abs, 0, 0, -9, 9},
    {ActivationKind::neg, 0, 0, -9, 9},
    {ActivationKind::erf, 0, 0, -6, 6},
    {ActivationKind::log, 0, 0, 1e-6f, 1e4f},
    {ActivationKind::gelu_tanh, 0, 0, -8, 8},
    {ActivationKind::reciprocal, 0, 0, 0.01f, 9},
    {ActivationKind::floor, 0, 0, -9, 9},
    {ActivationKind::ceil, 0, 0, -9, 9},
    {ActivationKind::square, 0, 0, -9, 9},
    {ActivationKind::rsqrt, 0, 0, 0.001f, 1e4f},
    {ActivationKind::round, 0, 0, -9, 9},
    {ActivationKind::sign, 0, 0, -9, 9},
    {ActivationKind::sin, 0, 0, -2000, 2000},
    {ActivationKind::cos, 0, 0, -2000, 2000},
    {ActivationKind::tan, 0, 0, -50, 50},
    {ActivationKind::asin, 0, 0, -1, 1},
    {ActivationKind::acos, 0, 0, -1, 1},
    {ActivationKind::atan, 0, 0, -50, 50},
    {ActivationKind::sinh, 0, 0, -88, 88},
    {ActivationKind::cosh, 0, 0, -88, 88},
    {ActivationKind::asinh, 0, 0, -50, 50},
    {ActivationKind::acosh, 0, 0, 1, 50},
    {ActivationKind::atanh, 0, 0, -0.999f, 0.999f},
};
static_assert(sizeof(kRanges) / sizeof(kRanges[0]) == kFusedActivationKinds, "every activation is tested");

// 10,000 points of the range, and points on both sides of 0 that halve down to the smallest normal number.
Data samples(const Range& r) {
  std::vector<float> x;
  for (int i = 0; i < 10000; ++i) x.push_back(r.low + (r.high - r.low) * static_cast<float>(i) / 9999.0f);
  for (float v = 1.0f; v > 2e-38f; v /= 2) {
    if (v <= r.high && v >= r.low) x.push_back(v);
    if (-v >= r.low) x.push_back(-v);
  }
  Data d(f32({static_cast<int>(x.size())}));
  std::copy(x.begin(), x.end(), d.floats());
  return d;
}

TEST(Activation, EveryKindIsCloseToTheCLibraryOnItsWholeRange) {
  for (const Range& r : kRanges) {
    const Activation a{r.kind, r.alpha, r.beta};
    const Data x = samples(r);
    Data expected(x.desc);
    for (int i = 0; i < x.desc.dims[0]; ++i) expected.floats()[i] = activate(x.floats()[i], a);
    // Polynomials of about 8 operations: 8 roundings of 2^-24. The gelus subtract nearly equal numbers for x < 0, in the
    // reference as well, so that their error is measured against |x| <= 8. Results below the smallest normal number lose bits.
    const bool gelu = r.kind == ActivationKind::gelu || r.kind == ActivationKind::gelu_tanh;
    const Tolerance tolerance = {8.0f * std::ldexp(1.0f, -24), gelu ? 8.0f * std::ldexp(1.0f, -23) : 2e-38f};
    check_step("elementwise", "unary_f32", {&x}, expected, tolerance, activation_name(r.kind),
               [&](const KernelOptions& o) { return prepare_unary({x.desc, x.desc, a}, o); });
  }
}

TEST(Activation, HalvesRoundToEvenAndZerosHaveNoSign) {
  const float values[] = {-3.5f, -2.5f, -1.5f, -0.5f, 0.0f, 0.5f, 1.5f, 2.5f, 8388609.0f, -1e-45f, 1e-45f};
  const float rounded[] = {-4.0f, -2.0f, -2.0f, 0.0f, 0.0f, 0.0f, 2.0f, 2.0f, 8388609.0f, 0.0f, 0.0f};
  const float signs[] = {-1.0f, -1.0f, -1.0f, -1.0f, 0.0f, 1.0f, 1.0f, 1.0f, 1.0f, -1.0f, 1.0f};
  Data x(f32({11})), round(x.desc), sign(x.desc);
  std::copy(std::begin(values), std::end(values), x.floats());
  std::copy(std::begin(rounded), std::end(rounded), round.floats());
  std::copy(std::begin(signs), std::end(signs), sign.floats());
  check_step("elementwise", "unary_f32", {&x}, round, {}, "round",
             [&](const KernelOptions& o) { return prepare_unary({x.desc, x.desc, {ActivationKind::round, 0, 0}}, o); });
  check_step("elementwise", "unary_f32", {&x}, sign, {}, "sign",
             [&](const KernelOptions& o) { return prepare_unary({x.desc, x.desc, {ActivationKind::sign, 0, 0}}, o); });
}

TEST(Activation, NanInfinityAndOverflowComeOutAsTheCLibrarySays) {
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {inf, -inf, std::numeric_limits<float>::quiet_NaN(), 1e30f, -1e30f, 3e38f, -3e38f, 89.5f, -110.0f};
  for (const Range& r : kRanges) {
    const Activation a{r.kind, r.alpha, r.beta};
    Data x(f32({9})), expected(x.desc);
    for (int i = 0; i < 9; ++i) {
      x.floats()[i] = values[i];
      expected.floats()[i] = activate(values[i], a);
    }
    check_step("elementwise", "unary_f32", {&x}, expected, {1e-6f, 2e-38f}, activation_name(r.kind),
               [&](const KernelOptions& o) { return prepare_unary({x.desc, x.desc, a}, o); });
  }
}

}  // namespace
}  // namespace edgelane
