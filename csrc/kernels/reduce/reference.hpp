// What reductions and selections mean; never optimised.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/reduce/reduce.hpp"

namespace edgelane::reference {

// Sums and products: of float32 in double, of integers modulo 2^64, whose low bits are the result.
template <class T>
T reduced(Reduction reduction, const std::vector<T>& x) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
  Wide sum = 0, product = 1, absolute = 0, squares = 0;
  double real_sum = 0, real_squares = 0, largest = -std::numeric_limits<double>::infinity();
  T max = x[0], min = x[0];
  bool has_nan = false;
  for (const T v : x) {
    const Wide w = static_cast<Wide>(v);
    has_nan = has_nan || v != v;
    sum += w;
    product *= w;
    absolute += v < 0 ? Wide{0} - w : w;
    squares += w * w;
    real_sum += static_cast<double>(v);
    real_squares += static_cast<double>(v) * static_cast<double>(v);
    largest = std::max(largest, static_cast<double>(v));
    if (!(v <= max) && max == max) max = v;
    if (!(v >= min) && min == min) min = v;
  }
  const auto rounded = [](double v) -> T {  // integers: towards zero, NaN to 0, the rest to the nearest end
    if constexpr (std::is_floating_point_v<T>) return static_cast<T>(v);
    if (std::isnan(v)) return 0;
    if (v >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    if (v <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
    return static_cast<T>(v);
  };
  switch (reduction) {
    case Reduction::mean:
      if constexpr (std::is_floating_point_v<T>) return static_cast<T>(sum / static_cast<double>(x.size()));
      return static_cast<T>(static_cast<T>(sum) / static_cast<int64_t>(x.size()));
    case Reduction::sum:
      return static_cast<T>(sum);
    case Reduction::max:
      return max;
    case Reduction::min:
      return min;
    case Reduction::product:
      return static_cast<T>(product);
    case Reduction::l1:
      return static_cast<T>(absolute);
    case Reduction::l2:
      return rounded(std::sqrt(real_squares));
    case Reduction::log_sum:
      return rounded(std::log(real_sum));
    case Reduction::log_sum_exp: {
      if (has_nan) return rounded(std::nan(""));
      if (std::isinf(largest)) return rounded(largest);
      double exponentials = 0;
      for (const T v : x) exponentials += std::exp(static_cast<double>(v) - largest);
      return rounded(largest + std::log(exponentials));
    }
    case Reduction::sum_square:
      return static_cast<T>(squares);
  }
  return 0;
}

// f(the index of an element of y, the elements of x that become it, in row-major order of the reduced axes).
template <class T, class F>
void for_reduced(const TensorDesc& input, const TensorDesc& output, Span<const int> axes, const void* x, const F& f) {
  const ElementOffsets in(input);
  int reduced_dims[kMaxRank];
  std::fill(reduced_dims, reduced_dims + kMaxRank, 1);
  for (int axis : axes) reduced_dims[axis] = input.dims[axis];
  int kept[kMaxRank];
  std::copy(input.dims, input.dims + kMaxRank, kept);
  for (int axis : axes) kept[axis] = 1;
  int i[kMaxRank] = {};
  do {
    std::vector<T> values;
    int k[kMaxRank] = {};
    do {
      int at[kMaxRank];
      for (int a = 0; a < input.rank; ++a) at[a] = i[a] + k[a];
      values.push_back(static_cast<const T*>(x)[in(at, input.rank)]);
    } while (next_index(k, reduced_dims, input.rank));
    f(i, values);
  } while (next_index(i, kept, output.rank));
}

template <class T>
void reduce(const TensorDesc& input, const TensorDesc& output, Span<const int> axes, Reduction reduction, const void* x,
            void* y) {
  const ElementOffsets out(output);
  for_reduced<T>(input, output, axes, x, [&](const int* i, const std::vector<T>& values) {
    static_cast<T*>(y)[out(i, output.rank)] = reduced(reduction, values);
  });
  fill_borders(y, output);
}

template <class T>
void arg_reduce(const TensorDesc& input, const TensorDesc& output, int axis, bool largest, bool last, const void* x, void* y) {
  const ElementOffsets out(output);
  for_reduced<T>(input, output, {&axis, 1}, x, [&](const int* i, const std::vector<T>& values) {
    size_t best = 0;
    for (size_t k = 1; k < values.size(); ++k) {
      const T a = values[k], b = values[best];
      if (largest ? (last ? a >= b : a > b) : last ? a <= b : a < b) best = k;
    }
    static_cast<int64_t*>(y)[out(i, output.rank)] = static_cast<int64_t>(best);
  });
}

template <class T>
void top_k(const TensorDesc& input, const TensorDesc& output, int axis, bool largest, const void* x, void* y) {
  const ElementOffsets out(output);
  for_reduced<T>(input, output, {&axis, 1}, x, [&](const int* i, const std::vector<T>& values) {
    const auto less = [](T a, T b) { return a < b || (a == a && b != b); };  // NaN is the largest
    std::vector<int64_t> order;
    for (size_t k = 0; k < values.size(); ++k) order.push_back(static_cast<int64_t>(k));
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const T va = values[static_cast<size_t>(a)], vb = values[static_cast<size_t>(b)];
      return largest ? less(vb, va) : less(va, vb);
    });
    int at[kMaxRank];
    std::copy(i, i + kMaxRank, at);
    for (at[axis] = 0; at[axis] < output.dims[axis]; ++at[axis])
      static_cast<int64_t*>(y)[out(at, output.rank)] = order[static_cast<size_t>(at[axis])];
  });
}

}  // namespace edgelane::reference
