// Bodies of ElementwiseRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include <cmath>

#include "kernels/elementwise/rows.hpp"
#include "kernels/simd/activation.hpp"
#include "kernels/simd/loops.hpp"
#include "kernels/simd/quantize.hpp"

namespace edgelane {
namespace {

template <class V>
void unary(const float* x, float* y, int64_t n, const Activation& activation) {
  const Activation a = activation;
  for_vectors<V>(n, [&](int64_t i, int lanes) { store(apply_activation(load<V>(x + i, lanes), a), y + i, lanes); });
}

template <class V>
void prelu(const float* x, const float* slope, bool per_element, float* y, int64_t n) {
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const V v = load<V>(x + i, lanes), s = per_element ? load<V>(slope + i, lanes) : V::broadcast(*slope);
    store(select(v < V::zero(), s * v, v), y + i, lanes);
  });
}

// Calls compute(first, end) and then applies the activation, or `slope` if there is one, in pieces that stay in the first cache.
// The switch over all activations is then compiled once, in unary, and not into every loop.
template <class V, class F>
EDGELANE_INLINE void with_activation(float* y, int64_t n, const Activation& activation, const float* slope, bool per_element,
                                     const F& compute) {
  constexpr int64_t kPiece = 2048;
  if (slope == nullptr && activation.kind == ActivationKind::none) return compute(0, n);
  for (int64_t first = 0; first < n; first += kPiece) {
    const int64_t end = first + kPiece < n ? first + kPiece : n;
    compute(first, end);
    if (slope != nullptr)
      prelu<V>(y + first, per_element ? slope + first : slope, per_element, y + first, end - first);
    else
      unary<V>(y + first, y + first, end - first, activation);
  }
}

template <class V>
void affine(const float* x, const float* scale, const float* shift, const float* slope, bool per_element, float* y, int64_t n,
            const Activation& activation) {
  with_activation<V>(y, n, activation, slope, per_element, [=](int64_t first, int64_t end) {
    const V s = V::broadcast(*scale), t = V::broadcast(*shift);
    for_vectors<V>(end - first, [=](int64_t i, int lanes) {
      i += first;
      const V v = load<V>(x + i, lanes);
      const V r = per_element ? muladd(v, load<V>(scale + i, lanes), load<V>(shift + i, lanes)) : muladd(v, s, t);
      store(r, y + i, lanes);
    });
  });
}

// The remainder with the divisor's sign.
inline float modulo(float a, float b) {
  const float rest = ::fmodf(a, b);
  return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}

template <class V>
EDGELANE_INLINE V each_lane(V a, V b, float (*f)(float, float)) {
  float left[V::width], right[V::width];
  a.storeu(left);
  b.storeu(right);
  for (int i = 0; i < V::width; ++i) left[i] = f(left[i], right[i]);
  return V::loadu(left);
}

template <class V, BinaryFunction kFunction>
EDGELANE_INLINE V combine(V a, V b) {
  switch (kFunction) {
    case BinaryFunction::add:
      return a + b;
    case BinaryFunction::sub:
      return a - b;
    case BinaryFunction::mul:
      return a * b;
    case BinaryFunction::div:
      return a / b;
    case BinaryFunction::max:
      return select(a == a, max(a, b), a);  // max and min return their second operand for NaN in either
    case BinaryFunction::min:
      return select(a == a, min(a, b), a);
    case BinaryFunction::pow:
      return each_lane(a, b, ::powf);
    case BinaryFunction::mod:
      return each_lane(a, b, modulo);
    case BinaryFunction::fmod:
      return each_lane(a, b, ::fmodf);
    case BinaryFunction::prelu:
      return select(a < V::zero(), a * b, a);
    default:  // of other dtypes, or to bool
      return a;
  }
}

template <class V, BinaryFunction kFunction>
EDGELANE_INLINE typename V::Mask holds(V a, V b) {
  if constexpr (kFunction == BinaryFunction::equal) return a == b;
  if constexpr (kFunction == BinaryFunction::less) return a < b;
  return a <= b;
}

template <class V, BinaryFunction kFunction>
void binary_run(FloatOperand a, FloatOperand b, float* y, int64_t n, const Activation& activation) {
  with_activation<V>(y, n, activation, nullptr, false, [=](int64_t first, int64_t end) {
    const V va = V::broadcast(*a.data), vb = V::broadcast(*b.data);
    for_vectors<V>(end - first, [=](int64_t i, int lanes) {
      i += first;
      const V left = a.repeated ? va : load<V>(a.data + i, lanes), right = b.repeated ? vb : load<V>(b.data + i, lanes);
      store(combine<V, kFunction>(left, right), y + i, lanes);
    });
  });
}

template <class V>
void binary(BinaryFunction function, FloatOperand a, FloatOperand b, float* y, int64_t n, const Activation& activation) {
  switch (function) {
    case BinaryFunction::add:
      return binary_run<V, BinaryFunction::add>(a, b, y, n, activation);
    case BinaryFunction::sub:
      return binary_run<V, BinaryFunction::sub>(a, b, y, n, activation);
    case BinaryFunction::mul:
      return binary_run<V, BinaryFunction::mul>(a, b, y, n, activation);
    case BinaryFunction::div:
      return binary_run<V, BinaryFunction::div>(a, b, y, n, activation);
    case BinaryFunction::max:
      return binary_run<V, BinaryFunction::max>(a, b, y, n, activation);
    case BinaryFunction::min:
      return binary_run<V, BinaryFunction::min>(a, b, y, n, activation);
    case BinaryFunction::pow:
      // Normalisation layers square this way.
      if (b.repeated && *b.data == 2.0f) return binary_run<V, BinaryFunction::mul>(a, a, y, n, activation);
      return binary_run<V, BinaryFunction::pow>(a, b, y, n, activation);
    case BinaryFunction::mod:
      return binary_run<V, BinaryFunction::mod>(a, b, y, n, activation);
    case BinaryFunction::fmod:
      return binary_run<V, BinaryFunction::fmod>(a, b, y, n, activation);
    case BinaryFunction::prelu:
      return binary_run<V, BinaryFunction::prelu>(a, b, y, n, activation);
    default:
      return;
  }
}

template <class V, BinaryFunction kFunction>
void compare_run(FloatOperand a, FloatOperand b, uint8_t* y, int64_t n) {
  using Int = typename V::Int;
  const V va = V::broadcast(*a.data), vb = V::broadcast(*b.data);
  for_vectors<V>(n, [=](int64_t i, int lanes) {
    const V left = a.repeated ? va : load<V>(a.data + i, lanes), right = b.repeated ? vb : load<V>(b.data + i, lanes);
    const Int bytes = select(holds<V, kFunction>(left, right), Int::broadcast(1), Int::zero());
    lanes == V::width ? bytes.store_u8(y + i) : bytes.store_u8_first(y + i, lanes);
  });
}

template <class V>
void compare(BinaryFunction function, FloatOperand a, FloatOperand b, uint8_t* y, int64_t n) {
  if (function == BinaryFunction::equal) return compare_run<V, BinaryFunction::equal>(a, b, y, n);
  if (function == BinaryFunction::less) return compare_run<V, BinaryFunction::less>(a, b, y, n);
  return compare_run<V, BinaryFunction::less_or_equal>(a, b, y, n);
}

// Exact, so that int8 results are the same on every instruction set: what does not only compare goes lane by lane.
template <class V>
EDGELANE_INLINE V exact_activation(V v, const Activation& a) {
  switch (a.kind) {
    case ActivationKind::none:
      return v;
    case ActivationKind::relu:
      return max(V::zero(), v);
    case ActivationKind::clip:
      return min(V::broadcast(a.beta), max(V::broadcast(a.alpha), v));
    default:
      return activate_lanes(v, a);
  }
}

template <class V>
EDGELANE_INLINE V load_quads(const QuadOperand& o, const VectorQuant<V>& q, int64_t i, int lanes) {
  using Int = typename V::Int;
  if (!o.repeated)
    return dequantize_lanes<V>(lanes == V::width ? Int::load_u8(o.data + i) : Int::load_u8_first(o.data + i, lanes), q);
  uint8_t bytes[V::width];
  for (int k = 0; k < V::width; ++k) bytes[k] = o.data[k % 4];
  return dequantize_lanes<V>(Int::load_u8(bytes), q);
}

template <class V, BinaryFunction kFunction>
void binary_run_s8(const QuadOperand& a, const QuadOperand& b, float scale, int32_t zero_point, uint8_t* y, int64_t n,
                   const Activation& activation) {
  // Both functions commute, so that only b need be one quad for all.
  if (a.repeated && !b.repeated) return binary_run_s8<V, kFunction>(b, a, scale, zero_point, y, n, activation);
  const Activation act = activation;
  const VectorQuant<V> qa(a.scale, a.zero_point), qb(b.scale, b.zero_point), qy(scale, zero_point);
  const auto write = [&](V va, V vb, int64_t i, int lanes) __attribute__((always_inline)) {
    const typename V::Int stored = quantize_lanes(exact_activation(combine<V, kFunction>(va, vb), act), qy);
    lanes == V::width ? stored.store_u8(y + i) : stored.store_u8_first(y + i, lanes);
  };
  if (b.repeated) {
    const V vb = load_quads<V>(b, qb, 0, V::width);
    for_vectors<V>(n, [&](int64_t i, int lanes) { write(load_quads<V>(a, qa, i, lanes), vb, i, lanes); });
  } else {
    for_vectors<V>(
        n, [&](int64_t i, int lanes) { write(load_quads<V>(a, qa, i, lanes), load_quads<V>(b, qb, i, lanes), i, lanes); });
  }
}

template <class V>
void binary_s8(BinaryFunction function, const QuadOperand& a, const QuadOperand& b, float scale, int32_t zero_point, uint8_t* y,
               int64_t n, const Activation& activation) {
  if (function == BinaryFunction::add) {
    binary_run_s8<V, BinaryFunction::add>(a, b, scale, zero_point, y, n, activation);
  } else {
    binary_run_s8<V, BinaryFunction::mul>(a, b, scale, zero_point, y, n, activation);
  }
}

template <class V>
constexpr ElementwiseRows make_rows() {
  return {unary<V>, affine<V>, prelu<V>, binary<V>, compare<V>, binary_s8<V>};
}

}  // namespace
}  // namespace edgelane
