// What the rules of the ops are written with (check_step.cpp, check_tensor_step.cpp): each helper fails with what it expected and
// found. Sizes are at most 2^31 - 1 and windows at most 65535, so sums and products of two of them fit in 64 bits.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "runtime/message.hpp"
#include "runtime/model_file.hpp"
#include "runtime/op_table.hpp"

namespace edgelane {

constexpr StatusCode kInvalid = StatusCode::invalid_file;

inline std::string describe(const Tensor& t) { return message(quoted(t.name), " ", dtype_name(t.dtype), list(t.shape())); }

inline bool same_shape(const Tensor& a, const Tensor& b) {
  return a.rank == b.rank && std::equal(a.dims, a.dims + a.rank, b.dims);
}

inline bool same_quant(const Tensor& a, const Tensor& b) {
  return a.quant().scale == b.quant().scale && a.quant().zero_point == b.quant().zero_point;
}

class StepRules {
 protected:
  StepRules(const Model& model, const Step& step)
      : model_(model), step_(step), a_(step.attributes), y_(model.tensors[static_cast<size_t>(step.output)]) {}

  const Tensor& input(size_t i) const { return model_.tensors[static_cast<size_t>(step_.inputs[i])]; }
  bool present(size_t i) const { return step_.input(i) != kAbsent; }

  // An activation may be a constant; then it is stored as one.
  static void check_activation(const Tensor& t) {
    if (t.elements() == 0) fail(kInvalid, "expected a tensor with elements, found ", describe(t));
    if (t.encoding != Encoding::dense) fail(kInvalid, "expected an activation, found the block-sparse constant ", describe(t));
    if (t.dtype == DType::int8 && t.scales.size() != 1) {
      fail(kInvalid, "expected one scale of the int8 activation ", describe(t), ", found ", t.scales.size());
    }
    if (t.planar() && (t.dims[2] > kMaxImageSide || t.dims[3] > kMaxImageSide)) {
      fail(kInvalid, "expected a height and width of at most ", kMaxImageSide, ", found ", describe(t));
    }
  }

  static void expect_dtype(const Tensor& t, std::initializer_list<DType> allowed) {
    if (std::find(allowed.begin(), allowed.end(), t.dtype) != allowed.end()) return;
    std::string names;
    for (const DType d : allowed) names += (names.empty() ? "" : " or ") + std::string(dtype_name(d));
    fail(kInvalid, "expected ", names, ", found ", describe(t));
  }

  static void expect_rank(const Tensor& t, int rank) {
    if (t.rank != rank) fail(kInvalid, "expected rank ", rank, ", found ", describe(t));
  }

  static void expect_shape(const Tensor& t, std::initializer_list<int64_t> dims) {
    const std::vector<int64_t> expected(dims);
    if (t.shape().size() == expected.size() && std::equal(expected.begin(), expected.end(), t.dims)) return;
    fail(kInvalid, "expected shape ", list(Span<const int64_t>(expected)), ", found ", describe(t));
  }

  static void expect_same_shape(const Tensor& x, const Tensor& y) {
    if (!same_shape(x, y)) fail(kInvalid, "expected equal shapes, found ", describe(x), " and ", describe(y));
  }

  static void expect_same_dtype(const Tensor& x, const Tensor& y) {
    if (x.dtype != y.dtype) fail(kInvalid, "expected equal dtypes, found ", describe(x), " and ", describe(y));
  }

  static void expect_same_quant(const Tensor& x, const Tensor& y) {
    if (x.dtype == DType::int8 && !same_quant(x, y)) {
      fail(kInvalid, "expected equal scales and zero points of ", describe(x), " and ", describe(y), ", found ", x.quant().scale,
           ", ", x.quant().zero_point, " and ", y.quant().scale, ", ", y.quant().zero_point);
    }
  }

  // A constant of `dims` that the kernel packs.
  static void expect_weight(const Tensor& t, DType dtype, std::initializer_list<int64_t> dims, bool may_be_sparse = false) {
    if (!t.constant()) fail(kInvalid, "expected a constant, found ", describe(t));
    expect_dtype(t, {dtype});
    expect_shape(t, dims);
    if (t.encoding != Encoding::dense && !may_be_sparse)
      fail(kInvalid, "expected a dense constant, found the block-sparse ", describe(t));
  }

  void expect_count(const char* name, size_t count, int rank) const {
    if (count != static_cast<size_t>(rank)) fail(kInvalid, "expected ", rank, " values of attribute ", name, ", found ", count);
  }

  static bool is_int8(const Tensor& t) { return t.dtype == DType::int8; }

  // Kernel height and width of a convolution stand in the shape of its weights.
  static void expect_window(const Tensor& w) {
    if (w.dims[2] > kMaxWindow || w.dims[3] > kMaxWindow)
      fail(kInvalid, "expected a window of at most ", kMaxWindow, " pixels a side, found ", describe(w));
  }

  // Last output pixel's index for a window of `extent` (dilation included) over `size` padded pixels.
  static int64_t window_steps(int64_t size, int64_t extent, int64_t stride) { return (size - extent) / stride; }

  void expect_axis(const Tensor& t) const {
    if (a_.axis >= t.rank) fail(kInvalid, "expected an axis below ", t.rank, ", found ", a_.axis);
  }

  // The attribute's rule allows what the op with the most modes has.
  void expect_mode(int highest) const {
    if (a_.mode > highest) fail(kInvalid, "expected mode 0 to ", highest, ", found ", a_.mode);
  }

  const Model& model_;
  const Step& step_;
  const StepAttributes& a_;
  const Tensor& y_;
};

// The rules of the ops that check_step.cpp does not know.
void check_tensor_step(const Model& model, const Step& step);

}  // namespace edgelane
