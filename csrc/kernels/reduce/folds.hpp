// What the reductions without loops of their own for each instruction set do with one element after the other. T is float,
// int32_t or int64_t; sums of integers wrap around, and what is no sum, product or comparison is computed in double precision.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/reduce/reduction.hpp"

namespace edgelane {

// Towards zero; NaN becomes 0 and what is out of range the nearest end, as in a cast.
template <class T>
T from_double(double value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else {
    if (!(value == value)) return 0;
    if (value <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
    if (value >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    return static_cast<T>(value);
  }
}

// For each: Acc begins as Acc{start()}; add() an element; merge() what other elements have given; finish() with their number.
template <class T, Reduction R>
struct Fold {
  static constexpr bool kDouble =
      std::is_floating_point_v<T> || R == Reduction::l2 || R == Reduction::log_sum || R == Reduction::log_sum_exp;
  using Number = std::conditional_t<kDouble, double, uint64_t>;
  using Acc = Number;

  static Acc start() { return R == Reduction::product ? Number{1} : Number{0}; }
  static void add(Acc& acc, T x) {
    const Number v = static_cast<Number>(x);
    if constexpr (R == Reduction::product) {
      acc *= v;
    } else if constexpr (R == Reduction::l1) {
      acc += x < 0 ? Number{0} - v : v;
    } else if constexpr (R == Reduction::l2 || R == Reduction::sum_square) {
      acc += v * v;
    } else {
      acc += v;
    }
  }
  static void merge(Acc& acc, Acc other) {
    if constexpr (R == Reduction::product) {
      acc *= other;
    } else {
      acc += other;
    }
  }
  static T finish(Acc acc, int64_t count) {
    if constexpr (R == Reduction::l2) {
      return from_double<T>(std::sqrt(acc));
    } else if constexpr (R == Reduction::log_sum) {
      return from_double<T>(std::log(acc));
    } else if constexpr (kDouble) {
      return static_cast<T>(acc);
    } else if constexpr (R == Reduction::mean) {
      return static_cast<T>(static_cast<T>(acc) / count);
    } else {
      return static_cast<T>(acc);
    }
  }
};

template <class T, bool Max>
struct Extreme {
  using Acc = T;
  static Acc start() { return Max ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max(); }
  static void add(Acc& acc, T x) { acc = (Max ? x > acc : x < acc) ? x : acc; }
  static void merge(Acc& acc, Acc other) { add(acc, other); }
  static T finish(Acc acc, int64_t) { return acc; }
};

template <class T>
struct Fold<T, Reduction::max> : Extreme<T, true> {};
template <class T>
struct Fold<T, Reduction::min> : Extreme<T, false> {};

// exp(largest) * sum is the sum of the exponentials so far: none of them overflows. Infinities are the largest without a
// difference.
template <class T>
struct Fold<T, Reduction::log_sum_exp> {
  struct Acc {
    double largest, sum;
  };
  static Acc start() { return {-std::numeric_limits<double>::infinity(), 0.0}; }
  static void add(Acc& acc, T x) { merge(acc, {static_cast<double>(x), 1.0}); }
  static void merge(Acc& acc, Acc other) {
    if (other.largest > acc.largest) {
      acc.sum = acc.sum * std::exp(acc.largest - other.largest) + other.sum;
      acc.largest = other.largest;
    } else if (other.largest == acc.largest) {
      acc.sum += other.sum;
    } else {
      acc.sum += other.sum * std::exp(other.largest - acc.largest);
    }
  }
  static T finish(Acc acc, int64_t) { return from_double<T>(acc.largest + std::log(acc.sum)); }
};

}  // namespace edgelane
