// What gathers and scatters have in common: indices as they are read, and boxes of elements that go from one tensor to another.
// Not for files with instruction-set flags.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/check.hpp"
#include "kernels/offsets.hpp"

namespace edgelane {

// The elements of an int32 or int64 tensor as places in an axis of `size` elements, always within it.
class IndexReader {
 public:
  explicit IndexReader(const TensorDesc& t) : wide_(t.dtype == DType::int64) {}
  int64_t operator()(const void* data, int64_t i, int64_t size) const {
    int64_t index = wide_ ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
    if (index < 0) index += size;
    return std::clamp<int64_t>(index, 0, size - 1);
  }

 private:
  bool wide_;
};

inline void check_indices(const char* step, const TensorDesc& t) {
  check(t.dtype == DType::int32 || t.dtype == DType::int64, step, "expected int32 or int64 indices, found " + shape_text(t));
}

// The axes of one tensor from `first` on and the last axes of another, which have the same sizes.
class Box {
 public:
  Box(const TensorDesc& from, int first, const TensorDesc& to) : from_(from), to_(to) {
    for (int a = from.rank - 1, b = to.rank - 1; a >= first; --a, --b) {
      elements_ *= to.dims[b];
      const bool quads = is_quads(from, a) || is_quads(to, b);
      if (axes_ > 0 && !quads && !quads_[axes_ - 1] && from_.at(a, 1) == sizes_[axes_ - 1] * from_.at(from_axes_[axes_ - 1], 1) &&
          to_.at(b, 1) == sizes_[axes_ - 1] * to_.at(to_axes_[axes_ - 1], 1)) {
        sizes_[axes_ - 1] *= to.dims[b];  // behind each other on both sides: one axis
        continue;
      }
      sizes_[axes_] = to.dims[b];
      quads_[axes_] = quads;
      from_axes_[axes_] = a;
      to_axes_[axes_] = b;
      ++axes_;
    }
    if (axes_ == 0) return;
    from_step_ = from_.at(from_axes_[0], 1);
    to_step_ = to_.at(to_axes_[0], 1);
  }

  int64_t elements() const { return elements_; }

  // f(offset in `from`, offset in `to`, elements, their distances on either side) for every run of elements.
  template <class F>
  void for_runs(const F& f) const {
    if (axes_ <= 1) return f(int64_t{0}, int64_t{0}, elements_, from_step_, to_step_);
    int64_t index[kMaxRank] = {};
    for (;;) {
      int64_t from = 0, to = 0;
      for (int i = 1; i < axes_; ++i) {
        from += from_.at(from_axes_[i], index[i]);
        to += to_.at(to_axes_[i], index[i]);
      }
      f(from, to, sizes_[0], from_step_, to_step_);
      int i = 1;
      while (i < axes_ && ++index[i] == sizes_[i]) index[i++] = 0;
      if (i == axes_) return;
    }
  }

  template <class T>
  void copy(const T* from, T* to) const {
    if (elements_ == 1) {
      *to = *from;
      return;
    }
    for_runs([&](int64_t a, int64_t b, int64_t n, int64_t from_step, int64_t to_step) {
      if (from_step == 1 && to_step == 1) {
        std::memcpy(to + b, from + a, static_cast<size_t>(n) * sizeof(T));
      } else {
        for (int64_t i = 0; i < n; ++i) to[b + i * to_step] = from[a + i * from_step];
      }
    });
  }

 private:
  static bool is_quads(const TensorDesc& t, int axis) { return t.planar() && t.int8() && axis == 1; }

  ElementOffsets from_, to_;
  int axes_ = 0;  // innermost first
  int64_t sizes_[kMaxRank] = {};
  bool quads_[kMaxRank] = {};
  int from_axes_[kMaxRank] = {}, to_axes_[kMaxRank] = {};
  int64_t elements_ = 1, from_step_ = 1, to_step_ = 1;
};

// The index of element `flat` of a box in row-major order.
inline void unravel(int64_t flat, const int* dims, int rank, int* index) {
  for (int a = rank - 1; a >= 0; flat /= dims[a--]) index[a] = static_cast<int>(flat % dims[a]);
}

inline int64_t product(const int* begin, const int* end) {
  int64_t n = 1;
  for (; begin != end; ++begin) n *= *begin;
  return n;
}

}  // namespace edgelane
