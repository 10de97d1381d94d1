// The rules of each op (export/FORMAT.md, "Ops"): what follows from them is that a prepared kernel reads and writes only its own
// tensors. Sizes are at most 2^31 - 1 and windows at most 65535, so the sums and products below fit in 64 bits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/elementwise/elementwise.hpp"
#include "kernels/movement/movement.hpp"
#include "kernels/resize/resize.hpp"
#include "runtime/message.hpp"
#include "runtime/model_file.hpp"
#include "runtime/op_table.hpp"

namespace edgelane {
namespace {

constexpr StatusCode kInvalid = StatusCode::invalid_file;

std::string describe(const Tensor& t) { return message(quoted(t.name), " ", dtype_name(t.dtype), list(t.shape())); }

bool same_shape(const Tensor& a, const Tensor& b) { return a.rank == b.rank && std::equal(a.dims, a.dims + a.rank, b.dims); }

bool same_quant(const Tensor& a, const Tensor& b) {
  return a.quant().scale == b.quant().scale && a.quant().zero_point == b.quant().zero_point;
}

class StepChecker {
 public:
  StepChecker(const Model& model, const Step& step)
      : model_(model), step_(step), a_(step.attributes), y_(model.tensors[static_cast<size_t>(step.output)]) {}

  void check() const {
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      if (present(i) && !is_weight_input(step_.op, i)) check_activation(input(i));
    }
    check_activation(y_);
    switch (step_.op) {
      case Op::conv2d:
        return conv2d();
      case Op::conv_transpose2d:
        return conv_transpose2d();
      case Op::linear:
        return linear();
      case Op::max_pool2d:
      case Op::average_pool2d:
        return pool();
      case Op::global_average_pool:
        return global_average_pool();
      case Op::affine:
        return affine();
      case Op::unary:
        return unary();
      case Op::prelu:
        return prelu();
      case Op::binary:
        return binary();
      case Op::softmax:
      case Op::log_softmax:
        return softmax();
      case Op::concat:
        return concat();
      case Op::slice:
        return slice();
      case Op::transpose:
        return transpose();
      case Op::reshape:
        return reshape();
      case Op::channel_shuffle:
        return channel_shuffle();
      case Op::pad:
        return pad();
      case Op::resize:
        return resize();
      case Op::quantize:
        return convert(DType::float32, DType::int8);
      case Op::dequantize:
        return convert(DType::int8, DType::float32);
      case Op::requantize:
        return convert(DType::int8, DType::int8);
      case Op::reduce_mean:
        return reduce_mean();
    }
  }

 private:
  const Tensor& input(size_t i) const { return model_.tensors[static_cast<size_t>(step_.inputs[i])]; }
  bool present(size_t i) const { return step_.input(i) != kAbsent; }

  // An activation may be a constant; then it is stored as one.
  static void check_activation(const Tensor& t) {
    if (t.encoding != Encoding::dense) fail(kInvalid, "expected an activation, found the block-sparse constant ", describe(t));
    if (t.dtype == DType::int8 && t.scales.size() != 1) {
      fail(kInvalid, "expected one scale of the int8 activation ", describe(t), ", found ", t.scales.size());
    }
    if (t.planar() && (t.dims[2] > kMaxImageSide || t.dims[3] > kMaxImageSide)) {
      fail(kInvalid, "expected a height and width of at most ", kMaxImageSide, ", found ", describe(t));
    }
  }

  // ---- helpers; each fails with what it expected and found ----

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

  // ---- the ops ----

  // What conv2d and linear share: dtypes, int8 scales, and the bias.
  void multiply_dtypes(const Tensor& x, const Tensor& w, int64_t oc) const {
    expect_dtype(x, {DType::float32, DType::int8});
    if (is_int8(x)) {
      expect_dtype(y_, {DType::float32, DType::int8});
      if (w.scales.size() != 1 && w.scales.size() != static_cast<size_t>(oc)) {
        fail(kInvalid, "expected 1 or ", oc, " scales of ", describe(w), ", found ", w.scales.size());
      }
    } else {
      expect_dtype(y_, {DType::float32});
    }
    if (present(2)) expect_weight(input(2), is_int8(x) ? DType::int32 : DType::float32, {oc});
  }

  void conv2d() const {
    const Tensor &x = input(0), &w = input(1);
    expect_rank(x, 4);
    expect_rank(w, 4);
    expect_rank(y_, 4);
    expect_window(w);
    const int64_t groups = a_.groups, oc = w.dims[0];
    if (x.dims[1] % groups != 0 || oc % groups != 0) {
      fail(kInvalid, "expected channels that ", groups, " groups divide, found ", describe(x), " and ", describe(w));
    }
    expect_weight(w, x.dtype, {oc, x.dims[1] / groups, w.dims[2], w.dims[3]}, true);
    multiply_dtypes(x, w, oc);
    if (a_.has_intermediate && !is_int8(x))
      fail(kInvalid, "attribute intermediate_scale belongs to int8 convolutions, found ", describe(x));
    int64_t out[2];
    for (int i = 0; i < 2; ++i) {
      const int64_t extent = int64_t{w.dims[2 + i]} * a_.dilations[i] - a_.dilations[i] + 1;
      const int64_t padded = int64_t{x.dims[2 + i]} + a_.pads[i] + a_.pads[i + 2];
      if (extent > padded)
        fail(kInvalid, "expected a window of at most the ", padded, " padded pixels, found ", extent, " pixels");
      out[i] = window_steps(padded, extent, a_.strides[i]) + 1;
    }
    expect_shape(y_, {x.dims[0], oc, out[0], out[1]});
    if (present(3)) {
      expect_same_shape(input(3), y_);
      expect_dtype(input(3), {x.dtype});
    }
    slopes(4, oc);
  }

  // Input `i`, where it is there: a slope for each channel, in place of an activation.
  void slopes(size_t i, int64_t channels) const {
    if (!present(i)) return;
    expect_weight(input(i), DType::float32, {channels});
    if (a_.activation.kind != ActivationKind::none)
      fail(kInvalid, "expected no activation beside the slopes ", describe(input(i)), ", found ",
           activation_name(a_.activation.kind));
  }

  void conv_transpose2d() const {
    const Tensor &x = input(0), &w = input(1);
    expect_rank(x, 4);
    expect_rank(w, 4);
    expect_rank(y_, 4);
    expect_window(w);
    expect_dtype(x, {DType::float32});
    expect_dtype(y_, {DType::float32});
    if (x.dims[1] % a_.groups != 0) fail(kInvalid, "expected channels that ", a_.groups, " groups divide, found ", describe(x));
    expect_weight(w, DType::float32, {x.dims[1], w.dims[1], w.dims[2], w.dims[3]});
    const int64_t oc = int64_t{w.dims[1]} * a_.groups;
    if (present(2)) expect_weight(input(2), DType::float32, {oc});
    slopes(3, oc);
    expect_shape(y_, {x.dims[0], oc, y_.dims[2], y_.dims[3]});
    for (int i = 0; i < 2; ++i) {
      const int64_t extent = (int64_t{w.dims[2 + i]} - 1) * a_.dilations[i] + 1;
      const int64_t full = (int64_t{x.dims[2 + i]} - 1) * a_.strides[i] + extent - a_.pads[i] - a_.pads[i + 2];
      const int64_t extra = std::max(a_.strides[i], a_.dilations[i]) - 1;  // ONNX's output_padding is in the shape only
      if (y_.dims[2 + i] < full || y_.dims[2 + i] > full + extra) {
        fail(kInvalid, "expected an output side of ", full, " to ", full + extra, ", found ", describe(y_));
      }
    }
  }

  void linear() const {
    const Tensor &x = input(0), &w = input(1);
    if (x.rank < 1) fail(kInvalid, "expected rank 1 or more, found ", describe(x));
    expect_rank(w, 2);
    const int64_t ic = x.dims[x.rank - 1], oc = w.dims[0];
    expect_weight(w, x.dtype, {oc, ic}, true);
    multiply_dtypes(x, w, oc);
    const bool rows_match = x.rank == y_.rank && std::equal(x.dims, x.dims + x.rank - 1, y_.dims);
    if (!rows_match || y_.dims[y_.rank - 1] != oc) {
      fail(kInvalid, "expected the shape of ", describe(x), " with ", oc, " at its end, found ", describe(y_));
    }
  }

  void pool() const {
    const Tensor& x = input(0);
    expect_rank(x, 4);
    expect_dtype(x, {DType::float32, DType::int8});
    expect_same_dtype(x, y_);
    if (step_.op == Op::max_pool2d) expect_same_quant(x, y_);
    expect_shape(y_, {x.dims[0], x.dims[1], y_.dims[2], y_.dims[3]});
    for (int i = 0; i < 2; ++i) {
      const int64_t extent = (int64_t{a_.kernel_shape[i]} - 1) * a_.dilations[i] + 1;
      const int64_t begin = a_.pads[i], end = a_.pads[i + 2], stride = a_.strides[i];
      const int64_t padded = x.dims[2 + i] + begin + end;
      if (begin >= extent || end >= extent) {
        fail(kInvalid, "expected less padding than the window's ", extent, " pixels, found ", begin, " and ", end);
      }
      if (extent > padded)
        fail(kInvalid, "expected a window of at most the ", padded, " padded pixels, found ", extent, " pixels");
      // ceil_mode adds a window that reaches past the padded image, if it begins inside the image or the padding before it.
      const int64_t floor_count = window_steps(padded, extent, stride) + 1;
      const bool more = (padded - extent) % stride != 0 && floor_count * stride < x.dims[2 + i] + begin;
      const int64_t found = y_.dims[2 + i];
      if (found != floor_count && !(more && found == floor_count + 1)) {
        fail(kInvalid, "expected an output side of ", floor_count, more ? " or one more" : "", ", found ", describe(y_));
      }
    }
  }

  void global_average_pool() const {
    const Tensor& x = input(0);
    expect_rank(x, 4);
    expect_dtype(x, {DType::float32, DType::int8});
    expect_same_dtype(x, y_);
    expect_shape(y_, {x.dims[0], x.dims[1], 1, 1});
  }

  const Tensor& float_with_channels() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
    if (x.rank < 2) fail(kInvalid, "expected rank 2 or more, found ", describe(x));
    return x;
  }

  void affine() const {
    const Tensor& x = float_with_channels();
    expect_weight(input(1), DType::float32, {x.dims[1]});
    expect_weight(input(2), DType::float32, {x.dims[1]});
    slopes(3, x.dims[1]);
  }

  void prelu() const {
    const Tensor& x = float_with_channels();
    expect_weight(input(1), DType::float32, {x.dims[1]});
  }

  void unary() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32, DType::int8});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
  }

  void binary() const {
    const Tensor &a = input(0), &b = input(1);
    const auto function = static_cast<BinaryFunction>(a_.function);
    const bool in_int8 = function == BinaryFunction::add || function == BinaryFunction::mul;
    if (in_int8) {
      expect_dtype(a, {DType::float32, DType::int8});
    } else {
      expect_dtype(a, {DType::float32});
    }
    expect_same_dtype(a, b);
    expect_same_dtype(a, y_);
    const int rank = std::max(a.rank, b.rank);
    expect_rank(y_, rank);
    for (int i = 0; i < rank; ++i) {
      const int ia = i - (rank - a.rank), ib = i - (rank - b.rank);
      const int da = ia < 0 ? 1 : a.dims[ia], db = ib < 0 ? 1 : b.dims[ib];
      if ((da != db && da != 1 && db != 1) || y_.dims[i] != std::max(da, db)) {
        fail(kInvalid, "expected shapes that broadcast to the output's, found ", describe(a), ", ", describe(b), " and ",
             describe(y_));
      }
    }
  }

  void expect_axis(const Tensor& t) const {
    if (a_.axis >= t.rank) fail(kInvalid, "expected an axis below ", t.rank, ", found ", a_.axis);
  }

  void softmax() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
    expect_axis(x);
  }

  void movement_dtypes() const {
    expect_dtype(y_, {DType::float32, DType::int8, DType::int64, DType::boolean});
    for (size_t i = 0; i < step_.inputs.size(); ++i) expect_same_dtype(input(i), y_);
  }

  void concat() const {
    movement_dtypes();
    expect_axis(y_);
    int64_t sum = 0;
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      const Tensor& x = input(i);
      expect_rank(x, y_.rank);
      for (int d = 0; d < y_.rank; ++d) {
        if (d != a_.axis && x.dims[d] != y_.dims[d]) {
          fail(kInvalid, "expected shapes that differ along axis ", a_.axis, " only, found ", describe(x), " and ", describe(y_));
        }
      }
      sum += x.dims[a_.axis];
    }
    if (sum != y_.dims[a_.axis]) fail(kInvalid, "expected ", sum, " elements along axis ", a_.axis, ", found ", describe(y_));
  }

  void slice() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    expect_rank(y_, x.rank);
    expect_count("starts", a_.starts.size(), x.rank);
    expect_count("steps", a_.steps.size(), x.rank);
    for (size_t i = 0; i < static_cast<size_t>(x.rank); ++i) {
      const int64_t last = a_.starts[i] + (int64_t{y_.dims[i]} - 1) * a_.steps[i];
      if (last >= x.dims[i])
        fail(kInvalid, "expected to read up to element ", x.dims[i] - 1, " of axis ", i, ", found ", last, " of ", describe(x));
    }
  }

  void transpose() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    expect_rank(y_, x.rank);
    expect_count("perm", a_.perm.size(), x.rank);
    bool seen[kMaxRank] = {};
    for (size_t i = 0; i < a_.perm.size(); ++i) {
      const int from = a_.perm[i];
      if (from >= x.rank || seen[from])
        fail(kInvalid, "expected a permutation of ", x.rank, " axes, found ", list(Span<const int>(a_.perm)));
      seen[from] = true;
      if (y_.dims[i] != x.dims[from])
        fail(kInvalid, "expected ", describe(x), " permuted by ", list(Span<const int>(a_.perm)), ", found ", describe(y_));
    }
  }

  void reshape() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    if (x.elements() != y_.elements())
      fail(kInvalid, "expected as many elements on both sides, found ", describe(x), " and ", describe(y_));
  }

  void channel_shuffle() const {
    const Tensor& x = input(0);
    expect_rank(x, 4);
    expect_dtype(x, {DType::float32, DType::int8});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
    expect_same_quant(x, y_);
    if (x.dims[1] % a_.groups != 0) fail(kInvalid, "expected channels that ", a_.groups, " groups divide, found ", describe(x));
  }

  void pad() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32});
    expect_same_dtype(x, y_);
    expect_rank(y_, x.rank);
    expect_count("before", a_.before.size(), x.rank);
    const bool reflect = static_cast<PadMode>(a_.mode) == PadMode::reflect;
    for (size_t i = 0; i < a_.before.size(); ++i) {
      const int64_t before = a_.before[i], after = int64_t{y_.dims[i]} - x.dims[i] - before;
      if (after < 0)
        fail(kInvalid, "expected at least ", before + x.dims[i], " elements along axis ", i, ", found ", describe(y_));
      if (reflect && (before >= x.dims[i] || after >= x.dims[i])) {
        fail(kInvalid, "expected a reflected border of less than ", x.dims[i], " elements along axis ", i, ", found ", before,
             " and ", after);
      }
    }
  }

  void resize() const {
    const Tensor& x = input(0);
    expect_rank(x, 4);
    const bool nearest = static_cast<ResizeProblem::Mode>(a_.mode) == ResizeProblem::Mode::nearest;
    if (nearest) {
      expect_dtype(x, {DType::float32, DType::int8});
    } else {
      expect_dtype(x, {DType::float32});
    }
    expect_same_dtype(x, y_);
    expect_same_quant(x, y_);
    expect_shape(y_, {x.dims[0], x.dims[1], y_.dims[2], y_.dims[3]});
    for (int i = 0; i < 2; ++i) {
      // ONNX rounds in * scale down; a scale that was derived from a size may have lost its last bits.
      const double exact = double{a_.scales[i]} * x.dims[2 + i];
      if (!(exact > y_.dims[2 + i] - 0.5 && exact < y_.dims[2 + i] + 1.5)) {
        fail(kInvalid, "expected an output side of ", x.dims[2 + i], " times the scale ", a_.scales[i], ", found ", describe(y_));
      }
    }
  }

  void convert(DType from, DType to) const {
    expect_dtype(input(0), {from});
    expect_dtype(y_, {to});
    expect_same_shape(input(0), y_);
  }

  void reduce_mean() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32});
    expect_same_dtype(x, y_);
    expect_rank(y_, x.rank);
    bool reduced[kMaxRank] = {};
    for (size_t i = 0; i < a_.axes.size(); ++i) {
      if (a_.axes[i] >= x.rank || (i > 0 && a_.axes[i] <= a_.axes[i - 1])) {
        fail(kInvalid, "expected ascending axes below ", x.rank, ", found ", list(Span<const int>(a_.axes)));
      }
      reduced[a_.axes[i]] = true;
    }
    for (int i = 0; i < x.rank; ++i) {
      if (y_.dims[i] != (reduced[i] ? 1 : x.dims[i])) {
        fail(kInvalid, "expected ", describe(x), " with 1 at axes ", list(Span<const int>(a_.axes)), ", found ", describe(y_));
      }
    }
  }

  const Model& model_;
  const Step& step_;
  const StepAttributes& a_;
  const Tensor& y_;
};

}  // namespace

void check_step(const Model& model, const Step& step) { StepChecker(model, step).check(); }

}  // namespace edgelane
