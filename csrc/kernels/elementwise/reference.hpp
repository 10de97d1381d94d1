// What the element-wise steps mean, one element at a time; never optimised.
#pragma once

#include <cmath>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
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
      return a > b ? a : b;
    case BinaryFunction::min:
      return a < b ? a : b;
    case BinaryFunction::pow:
      return std::pow(a, b);
  }
  return a;
}

inline void unary(const UnaryProblem& p, const void* x, void* y) {
  const ElementOffsets in(p.input), out(p.output);
  int i[kMaxRank] = {};
  do {
    store_real(p.output, y, out(i, p.output.rank), activate(load_real(p.input, x, in(i, p.input.rank)), p.activation));
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

inline void binary(const BinaryProblem& p, const void* a, const void* b, void* y) {
  const ElementOffsets in_a(p.a), in_b(p.b), out(p.output);
  const int rank = p.output.rank;
  int i[kMaxRank] = {};
  const auto broadcast = [&](const TensorDesc& t, const ElementOffsets& offsets) {
    int at[kMaxRank] = {};
    for (int axis = 0; axis < t.rank; ++axis) at[axis] = t.dims[axis] == 1 ? 0 : i[rank - t.rank + axis];
    return offsets(at, t.rank);
  };
  do {
    const float va = load_real(p.a, a, broadcast(p.a, in_a)), vb = load_real(p.b, b, broadcast(p.b, in_b));
    store_real(p.output, y, out(i, rank), activate(apply(p.function, va, vb), p.activation));
  } while (next_index(i, p.output.dims, rank));
  fill_borders(y, p.output);
}

}  // namespace edgelane::reference
