// What the element-wise steps mean, one element at a time; never optimised.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/convert/reference.hpp"
#include "kernels/elementwise/elementwise.hpp"

namespace edgelane::reference {

inline float apply(BinaryFunction function, float a, float b) {
  switch (function) {
    case BinaryFunction::add:
      return a + b;
    case BinaryFunction::sub:
      return a - b;
    case BinaryFunction::mul:
      return a * b;
    case BinaryFunction::div:
      return a / b;
    case BinaryFunction::max:
      return std::isnan(a) || std::isnan(b) ? a + b : std::max(a, b);
    case BinaryFunction::min:
      return std::isnan(a) || std::isnan(b) ? a + b : std::min(a, b);
    case BinaryFunction::pow:
      return std::pow(a, b);
    case BinaryFunction::mod: {
      const float rest = std::fmod(a, b);
      return rest != 0.0f && std::signbit(rest) != std::signbit(b) ? rest + b : rest;
    }
    case BinaryFunction::fmod:
      return std::fmod(a, b);
    case BinaryFunction::prelu:
      return a < 0.0f ? a * b : a;
    case BinaryFunction::equal:
      return a == b;
    case BinaryFunction::less:
      return a < b;
    case BinaryFunction::less_or_equal:
      return a <= b;
    default:
      return a;
  }
}

// Integers of `bits` bits: the exact result, of which the caller keeps the low bits.
inline int64_t apply_whole(BinaryFunction function, int64_t a, int64_t b, int bits) {
  const uint64_t ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  const uint64_t pattern = bits == 32 ? static_cast<uint32_t>(a) : ua;
  const bool shifts = b >= 0 && b < bits;
  switch (function) {
    case BinaryFunction::add:
      return static_cast<int64_t>(ua + ub);
    case BinaryFunction::sub:
      return static_cast<int64_t>(ua - ub);
    case BinaryFunction::mul:
      return static_cast<int64_t>(ua * ub);
    case BinaryFunction::div:
      return b == 0 ? 0 : static_cast<int64_t>(static_cast<__int128>(a) / b);
    case BinaryFunction::max:
      return std::max(a, b);
    case BinaryFunction::min:
      return std::min(a, b);
    case BinaryFunction::pow: {
      uint64_t power = 1;
      if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 == 0 ? 1 : -1) : 0;
      for (int64_t i = 0; i < b; ++i) power *= ua;
      return static_cast<int64_t>(power);
    }
    case BinaryFunction::mod: {
      if (b == 0) return 0;
      const __int128 rest = static_cast<__int128>(a) % b;
      return static_cast<int64_t>(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    case BinaryFunction::fmod:
      return b == 0 ? 0 : static_cast<int64_t>(static_cast<__int128>(a) % b);
    case BinaryFunction::equal:
      return a == b;
    case BinaryFunction::less:
      return a < b;
    case BinaryFunction::less_or_equal:
      return a <= b;
    case BinaryFunction::logical_and:
      return a != 0 && b != 0;
    case BinaryFunction::logical_or:
      return a != 0 || b != 0;
    case BinaryFunction::logical_xor:
      return (a != 0) != (b != 0);
    case BinaryFunction::bit_and:
      return a & b;
    case BinaryFunction::bit_or:
      return a | b;
    case BinaryFunction::bit_xor:
      return a ^ b;
    case BinaryFunction::shift_left:
      return shifts ? static_cast<int64_t>(pattern << b) : 0;
    case BinaryFunction::shift_right:
      return shifts ? static_cast<int64_t>(pattern >> b) : 0;
    case BinaryFunction::prelu:
      break;
  }
  return a;
}

inline int64_t activate_whole(int64_t x, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
      return std::max<int64_t>(x, 0);
    case ActivationKind::abs:
      return x < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(x)) : x;
    case ActivationKind::neg:
      return static_cast<int64_t>(-static_cast<uint64_t>(x));
    case ActivationKind::sign:
      return x > 0 ? 1 : x < 0 ? -1 : 0;
    case ActivationKind::logical_not:
      return x == 0;
    default:
      return x;
  }
}

inline bool test(float x, const Activation& a) {
  if (a.kind == ActivationKind::is_nan) return std::isnan(x);
  return std::isinf(x) && (x > 0 ? a.beta : a.alpha) != 0.0f;
}

// float32 and int8 as real numbers.
inline bool is_real(const TensorDesc& t) { return t.dtype == DType::float32 || t.int8(); }

inline void unary(const UnaryProblem& p, const void* x, void* y) {
  const ElementOffsets in(p.input), out(p.output);
  int i[kMaxRank] = {};
  do {
    const int64_t from = in(i, p.input.rank), to = out(i, p.output.rank);
    if (!is_real(p.input)) {
      store_number(p.output, y, to, {false, 0, activate_whole(load_number(p.input, x, from).whole, p.activation.kind)});
    } else if (!is_real(p.output)) {
      store_number(p.output, y, to, {false, 0, test(load_real(p.input, x, from), p.activation)});
    } else {
      store_real(p.output, y, to, activate(load_real(p.input, x, from), p.activation));
    }
  } while (next_index(i, p.output.dims, p.output.rank));
  fill_borders(y, p.output);
}

inline void affine(const AffineProblem& p, Span<const float> scale, Span<const float> shift, const float* x, float* y) {
  const ElementOffsets in(p.input), out(p.output);
  int i[kMaxRank] = {};
  do {
    y[out(i, p.output.rank)] = activate(x[in(i, p.input.rank)] * scale[i[1]] + shift[i[1]], p.activation);
  } while (next_index(i, p.output.dims, p.output.rank));
  fill_borders(y, p.output);
}

inline void prelu(const TensorDesc& input, const TensorDesc& output, Span<const float> slope, const float* x, float* y) {
  const ElementOffsets in(input), out(output);
  int i[kMaxRank] = {};
  do {
    const float v = x[in(i, input.rank)];
    y[out(i, output.rank)] = v < 0.0f ? slope[i[1]] * v : v;
  } while (next_index(i, output.dims, output.rank));
  fill_borders(y, output);
}

// Offset of the element of `t` that broadcasts to element `i` of an output of `rank` axes.
inline int64_t broadcast_offset(const TensorDesc& t, const int* i, int rank) {
  int at[kMaxRank] = {};
  for (int axis = 0; axis < t.rank; ++axis) at[axis] = t.dims[axis] == 1 ? 0 : i[rank - t.rank + axis];
  return ElementOffsets(t)(at, t.rank);
}

inline void binary(const BinaryProblem& p, const void* a, const void* b, void* y) {
  const ElementOffsets out(p.output);
  const int rank = p.output.rank;
  int i[kMaxRank] = {};
  do {
    const int64_t at_a = broadcast_offset(p.a, i, rank), at_b = broadcast_offset(p.b, i, rank), to = out(i, rank);
    if (!is_real(p.a)) {
      const int64_t va = load_number(p.a, a, at_a).whole, vb = load_number(p.b, b, at_b).whole;
      store_number(p.output, y, to, {false, 0, apply_whole(p.function, va, vb, p.a.dtype == DType::int32 ? 32 : 64)});
      continue;
    }
    const float result = apply(p.function, load_real(p.a, a, at_a), load_real(p.b, b, at_b));
    if (is_real(p.output)) {
      store_real(p.output, y, to, activate(result, p.activation));
    } else {
      store_number(p.output, y, to, {true, result, 0});
    }
  } while (next_index(i, p.output.dims, rank));
  fill_borders(y, p.output);
}

inline void where(const WhereProblem& p, const void* condition, const void* a, const void* b, void* y) {
  const ElementOffsets out(p.output);
  const int rank = p.output.rank;
  const size_t bytes = dtype_bytes(p.output.dtype);
  int i[kMaxRank] = {};
  do {
    const bool first = load_number(p.condition, condition, broadcast_offset(p.condition, i, rank)).whole != 0;
    const auto* from = static_cast<const uint8_t*>(first ? a : b);
    const int64_t at = broadcast_offset(first ? p.a : p.b, i, rank);
    std::memcpy(static_cast<uint8_t*>(y) + out(i, rank) * static_cast<int64_t>(bytes), from + at * static_cast<int64_t>(bytes),
                bytes);
  } while (next_index(i, p.output.dims, rank));
  fill_borders(y, p.output);
}

}  // namespace edgelane::reference
