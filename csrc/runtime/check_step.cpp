// The rules of the ops of networks (export/FORMAT.md, "Ops"): what follows from them is that a prepared kernel reads and writes
// only its own tensors. Those of the ops that compute with tensors of any meaning are in check_tensor_step.cpp.
#include <cmath>

#include "kernels/resize/resize.hpp"
#include "runtime/step_rules.hpp"

namespace edgelane {
namespace {

class NetworkRules : StepRules {
 public:
  NetworkRules(const Model& model, const Step& step) : StepRules(model, step) {}

  void check() const {
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      if (present(i) && !is_weight_input(step_.op, i)) check_activation(input(i));
    }
    check_activation(y_);
    if (step_.op != Op::unary && static_cast<int>(a_.activation.kind) >= kFusedActivationKinds)
      fail(kInvalid, "activation ", activation_name(a_.activation.kind), " belongs to the op unary");
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
      case Op::prelu:
        return prelu();
      case Op::channel_shuffle:
        return channel_shuffle();
      case Op::resize:
        return resize();
      case Op::quantize:
        return convert(DType::float32, DType::int8);
      case Op::dequantize:
        return convert(DType::int8, DType::float32);
      case Op::requantize:
        return convert(DType::int8, DType::int8);
      default:
        return check_tensor_step(model_, step_);
    }
  }

 private:
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

  void channel_shuffle() const {
    const Tensor& x = input(0);
    expect_rank(x, 4);
    expect_dtype(x, {DType::float32, DType::int8});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
    expect_same_quant(x, y_);
    if (x.dims[1] % a_.groups != 0) fail(kInvalid, "expected channels that ", a_.groups, " groups divide, found ", describe(x));
  }

  void resize() const {
    const Tensor& x = input(0);
    expect_rank(x, 4);
    expect_mode(2);
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
};

}  // namespace

void check_step(const Model& model, const Step& step) { NetworkRules(model, step).check(); }

}  // namespace edgelane
