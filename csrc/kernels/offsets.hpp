// Where the elements of a tensor lie, planar or plain, as a sum of one number for each axis. Not for files with instruction-set
// flags.
#pragma once

#include <cstdint>

#include "formats/tensor.hpp"

namespace edgelane {

// Offset of element (i0, i1, ...) = base() + at(0, i0) + at(1, i1) + ..., in elements of the tensor's dtype.
class ElementOffsets {
 public:
  ElementOffsets() = default;
  explicit ElementOffsets(const TensorDesc& t) {
    if (!t.planar()) {
      int64_t stride = 1;
      for (int a = t.rank - 1; a >= 0; --a) {
        stride_[a] = stride;
        stride *= t.dims[a];
      }
      return;
    }
    const int64_t width = t.int8() ? kChannelGroup : 1;
    base_ = t.layout.origin * width;
    stride_[0] = t.layout.groups(t.int8()) * t.layout.plane * width;
    stride_[1] = t.layout.plane * width;
    stride_[2] = t.layout.pitch * width;
    stride_[3] = width;
    if (t.int8()) quad_axis_ = 1;
  }

  int64_t base() const { return base_; }
  int64_t at(int axis, int64_t i) const {
    if (axis == quad_axis_) return i / kChannelGroup * stride_[axis] + i % kChannelGroup;
    return i * stride_[axis];
  }
  int64_t operator()(const int* index, int rank) const {
    int64_t offset = base_;
    for (int a = 0; a < rank; ++a) offset += at(a, index[a]);
    return offset;
  }

 private:
  int64_t base_ = 0;
  int64_t stride_[kMaxRank] = {};
  int quad_axis_ = -1;
};

// Steps an index through a box in row-major order; false after the last one, when the index is all zero again.
inline bool next_index(int* index, const int* dims, int rank) {
  for (int a = rank - 1; a >= 0; --a) {
    if (++index[a] < dims[a]) return true;
    index[a] = 0;
  }
  return false;
}

}  // namespace edgelane
