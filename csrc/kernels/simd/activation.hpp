// The activations of formats/activation.hpp on vectors: apply_activation<V>(x, a) for V of vec_<isa>.hpp.
//
// The exponential ones agree with the C library's to about four units in the last place, without a table and without a branch, so
// that whole models stay within 1e-4 of other engines (tests/cpp/kernels/activation_test.cpp measures it). NaN in gives NaN out.
// Logarithms, circular and hyperbolic functions and their inverses, which are rare in networks, are the C library's own, lane by
// lane. Everything is in an anonymous namespace: each source file compiles its own copy with its own flags.
#pragma once

#include <cstdint>

#include "formats/activation.hpp"
#include "kernels/simd/inline.hpp"

namespace edgelane {
namespace {

// sum of c[i] x^i by Horner's rule.
template <class V, int N>
EDGELANE_INLINE V polynomial(V x, const float (&c)[N]) {
  V sum = V::broadcast(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) sum = muladd(sum, x, V::broadcast(c[i]));
  return sum;
}

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440054690583e-4f;  // ln 2 = high + low; n * high is exact

// r of x = n ln 2 + r with |r| <= ln 2 / 2; n as a float.
template <class V>
EDGELANE_INLINE V reduced(V x, V* n) {
  *n = round_even(x * V::broadcast(kLog2E));
  return muladd(*n, V::broadcast(-kLn2Low), muladd(*n, V::broadcast(-kLn2High), x));
}

// n as there, and (e^r - 1) by Taylor's series, whose rest is below 6e-9.
template <class V>
EDGELANE_INLINE V reduced_expm1(V x, V* n) {
  static constexpr float kTaylor[] = {1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
  const V r = reduced(x, n);
  return r * polynomial(r, kTaylor);
}

// 2^n for integer -126 <= n <= 127; 0 for -127 and infinity for 128.
template <class V>
EDGELANE_INLINE V power_of_two(typename V::Int n) {
  return (n + V::Int::broadcast(127)).template shl<23>().bitcast();
}

template <class V>
EDGELANE_INLINE V exp(V x) {
  // Outside of these bounds the result is 0 or infinity in any case; the operand order lets NaN through.
  x = min(V::broadcast(89.0f), max(V::broadcast(-104.0f), x));
  V n;
  const V m = V::broadcast(1.0f) + reduced_expm1(x, &n);
  // In two halves, because n reaches -150 for subnormal results and 128 for the largest ones.
  const typename V::Int k = n.to_int(), half = k.template sar<1>();
  return m * power_of_two<V>(half) * power_of_two<V>(k - half);
}

// For x <= 0; keeps the relative accuracy of results near 0.
template <class V>
EDGELANE_INLINE V expm1_of_negative(V x) {
  x = max(V::broadcast(-30.0f), x);
  V n;
  const V m = reduced_expm1(x, &n), scale = power_of_two<V>(n.to_int());
  return muladd(scale, m, scale - V::broadcast(1.0f));
}

template <class V>
EDGELANE_INLINE V with_sign_of(V magnitude, V x) {
  const typename V::Int sign = V::Int::broadcast(INT32_MIN);
  return (magnitude.bitcast() | (x.bitcast() & sign)).bitcast();
}

// Below it e^-x is infinite here, so that gates shut to exactly 0.
constexpr float kShut = -89.0f;

// 1 + e^-x for x >= kShut. One factor of 2^-n is enough: its exponent field is that of infinity at -89 and of 0 at 88.
template <class V>
EDGELANE_INLINE V one_plus_exp_of_negative(V x) {
  static constexpr float kTaylor[] = {1.0f, -1.0f, 1.0f / 2, -1.0f / 6, 1.0f / 24, -1.0f / 120, 1.0f / 720, -1.0f / 5040};
  V n;
  const V r = reduced(min(V::broadcast(88.0f), x), &n);
  return muladd(polynomial(r, kTaylor), power_of_two<V>(V::Int::zero() - n.to_int()), V::broadcast(1.0f));
}

template <class V>
EDGELANE_INLINE V sigmoid(V x) {
  return V::broadcast(1.0f) / one_plus_exp_of_negative(max(V::broadcast(kShut), x));
}

template <class V>
EDGELANE_INLINE V silu(V x) {
  x = max(V::broadcast(kShut), x);
  return x / one_plus_exp_of_negative(x);
}

template <class V>
EDGELANE_INLINE V tanh(V x) {
  // tanh |x| = -t / (t + 2) with t = e^(-2 |x|) - 1
  const V t = expm1_of_negative(abs(x) * V::broadcast(-2.0f));
  return with_sign_of(V::zero() - t / (t + V::broadcast(2.0f)), x);
}

// log(1 + e) for 0 <= e <= 1: twice the area tangent of e / (2 + e) <= 1/3, by its series.
template <class V>
EDGELANE_INLINE V log1p_of_unit(V e) {
  static constexpr float kSeries[] = {2.0f, 2.0f / 3, 2.0f / 5, 2.0f / 7, 2.0f / 9, 2.0f / 11, 2.0f / 13, 2.0f / 15};
  const V s = e / (V::broadcast(2.0f) + e);
  return s * polynomial(s * s, kSeries);
}

template <class V>
EDGELANE_INLINE V softplus(V x) {
  return max(V::zero(), x) + log1p_of_unit(exp(V::zero() - abs(x)));
}

template <class V>
EDGELANE_INLINE V mish(V x) {
  // tanh(log(1 + e^x)) = (w^2 + 2 w) / (w^2 + 2 w + 2) with w = e^x; for x > 0 both are multiplied by e^(-2 x).
  const V w = exp(V::zero() - abs(x)), one = V::broadcast(1.0f), two = V::broadcast(2.0f), square = w * w;
  const auto negative = x < V::zero();
  const V top = select(negative, muladd(two, w, square), muladd(two, w, one));
  const V rest = select(negative, two, two * square);
  return x * (top / (top + rest));
}

// Below 1 an odd polynomial; above it 1 - exp(-g), where g = -log(1 - erf) is almost a parabola. Both were fitted to erf by
// weighted least squares at Chebyshev nodes, the second one in |x| - 2 on [1, 4]; erf(4) is 1 in float32.
template <class V>
EDGELANE_INLINE V erf(V x) {
  static constexpr float kSmall[] = {1.1283791065f,    -0.37612625957f,    0.11283582449f,   -0.026853691787f,
                                     0.0051880991086f, -0.00080081890337f, 7.8472592573e-05f};
  static constexpr float kLarge[] = {5.364941597f,      4.4181590080f,     0.92373853922f,    0.016461078078f,
                                     -0.0035305412021f, 0.00076670496492f, -0.00015727688151f};
  const V magnitude = abs(x), one = V::broadcast(1.0f);
  const V small = magnitude * polynomial(magnitude * magnitude, kSmall);
  const V t = min(V::broadcast(4.0f), magnitude) - V::broadcast(2.0f);
  const V large = one - exp(V::zero() - polynomial(t, kLarge));
  return with_sign_of(select(magnitude < one, small, large), x);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|), in which nothing cancels. Phi(-u) = 2^-p(u) was fitted on [0, 6] by least squares at
// Chebyshev nodes, weighted until the largest error of x Phi(x) was least, 2e-8; Phi(-6) is 1e-9. From there p goes on to rise,
// to 127 at 10.195, where the factor of 2^-127 is 0.
template <class V>
EDGELANE_INLINE V gelu(V x) {
  static constexpr float kTail[] = {0.9999999444f, 1.151107504f,    0.459189693f,     0.05255343414f, -0.007149047412f,
                                    0.0002048607f, 0.000157101642f, -3.306767891e-5f, 2.293374535e-6f};
  static constexpr float kTaylor[] = {1.0f,           -0.693147181f,   0.240226507f,   -0.0555041087f,
                                      0.00961812911f, -0.00133335581f, 1.54035304e-4f, -1.52527338e-5f};  // of 2^-r
  const V u = min(V::broadcast(10.195f), abs(x)), p = polynomial(u, kTail), n = round_even(p);
  const V tail = polynomial(p - n, kTaylor) * power_of_two<V>(V::Int::zero() - n.to_int());
  return muladd(V::zero() - u, tail, max(V::zero(), x));
}

// With tanh in place of erf: x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), whose argument is -88.5 at -10.05.
template <class V>
EDGELANE_INLINE V gelu_tanh(V x) {
  constexpr float kSlope = 2 * 0.79788456080286536f;
  x = max(V::broadcast(-10.05f), x);
  const V slope = muladd(x * x, V::broadcast(kSlope * 0.044715f), V::broadcast(kSlope));
  return x / one_plus_exp_of_negative(x * slope);
}

// Out of line, so that the many places that end in an activation do not grow with functions that hardly any network uses.
template <class V>
__attribute__((noinline)) V activate_lanes(V x, const Activation& a) {
  float lanes[V::width];
  x.storeu(lanes);
  for (int i = 0; i < V::width; ++i) lanes[i] = activate(lanes[i], a);
  return V::loadu(lanes);
}

template <class V>
EDGELANE_INLINE V apply_activation(V x, const Activation& a) {
  const V zero = V::zero(), one = V::broadcast(1.0f);
  // min and max return their second operand for NaN.
  switch (a.kind) {
    case ActivationKind::none:
      return x;
    case ActivationKind::relu:
      return max(zero, x);
    case ActivationKind::clip:
      return min(V::broadcast(a.beta), max(V::broadcast(a.alpha), x));
    case ActivationKind::leaky_relu:
      return select(x < zero, V::broadcast(a.alpha) * x, x);
    case ActivationKind::elu:
      return select(x < zero, V::broadcast(a.alpha) * expm1_of_negative(x), x);
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::hard_sigmoid:
      return min(one, max(zero, V::broadcast(a.alpha) * x + V::broadcast(a.beta)));
    case ActivationKind::hard_swish:
      return x * min(one, max(zero, x * V::broadcast(1.0f / 6.0f) + V::broadcast(0.5f)));
    case ActivationKind::silu:
      return silu(x);
    case ActivationKind::tanh:
      return tanh(x);
    case ActivationKind::gelu:
      return gelu(x);
    case ActivationKind::mish:
      return mish(x);
    case ActivationKind::softplus:
      return softplus(x);
    case ActivationKind::exp:
      return exp(x);
    case ActivationKind::sqrt:
      return sqrt(x);
    case ActivationKind::abs:
      return abs(x);
    case ActivationKind::neg:
      return zero - x;
    case ActivationKind::erf:
      return erf(x);
    case ActivationKind::gelu_tanh:
      return gelu_tanh(x);
    case ActivationKind::reciprocal:
      return one / x;
    case ActivationKind::floor:
      return floor(x);
    case ActivationKind::ceil:
      return ceil(x);
    case ActivationKind::square:
      return x * x;
    case ActivationKind::rsqrt:
      return one / sqrt(x);
    case ActivationKind::round:
      return round_even(x);
    case ActivationKind::sign:
      return select(zero < x, one, select(x < zero, zero - one, x));
    case ActivationKind::log:
    case ActivationKind::sin:
    case ActivationKind::cos:
    case ActivationKind::tan:
    case ActivationKind::asin:
    case ActivationKind::acos:
    case ActivationKind::atan:
    case ActivationKind::sinh:
    case ActivationKind::cosh:
    case ActivationKind::asinh:
    case ActivationKind::acosh:
    case ActivationKind::atanh:
      return activate_lanes(x, a);
    case ActivationKind::logical_not:  // of other dtypes
    case ActivationKind::is_nan:
    case ActivationKind::is_inf:
      break;
  }
  return x;
}

}  // namespace
}  // namespace edgelane
