#include "runtime/prepare.hpp"

#include <algorithm>
#include <utility>

#include "formats/block_sparse.hpp"
#include "kernels/conv2d/conv2d.hpp"
#include "kernels/conv_transpose2d/conv_transpose2d.hpp"
#include "kernels/convert/convert.hpp"
#include "kernels/depthwise/depthwise.hpp"
#include "kernels/detection/detection.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/indexing/indexing.hpp"
#include "kernels/linear/linear.hpp"
#include "kernels/matmul/matmul.hpp"
#include "kernels/movement/movement.hpp"
#include "kernels/normalize/normalize.hpp"
#include "kernels/pool/pool.hpp"
#include "kernels/reduce/reduce.hpp"
#include "kernels/registry.hpp"
#include "kernels/resize/resize.hpp"
#include "kernels/softmax/softmax.hpp"
#include "runtime/message.hpp"
#include "runtime/op_table.hpp"

namespace edgelane {
namespace {

// The elements of a dense constant, in the file itself: constants begin at a multiple of 64 there.
template <class T>
Span<const T> dense_values(const Tensor& t) {
  return {reinterpret_cast<const T*>(t.data.data()), static_cast<size_t>(t.elements())};
}

// Weights in dense order: in the file, or written out from blocks and kept as long as this object.
template <class T>
class WeightValues {
 public:
  explicit WeightValues(const Tensor& t) {
    if (t.encoding == Encoding::dense) {
      values_ = dense_values<T>(t);
      return;
    }
    WeightShape shape;
    shape.oc = t.dims[0];
    shape.ic = t.dims[1];
    shape.taps = t.rank == 4 ? t.dims[2] * t.dims[3] : 1;
    const int64_t oc_blocks = (int64_t{shape.oc} + t.block_oc - 1) / t.block_oc;
    const int64_t ic_blocks = (int64_t{shape.ic} + t.block_ic - 1) / t.block_ic;
    const int64_t mask_bytes = (oc_blocks * shape.taps * ic_blocks + 63) / 64 * 8;  // padded to a multiple of 8
    const auto* blocks = reinterpret_cast<const T*>(t.data.data() + mask_bytes);
    storage_ = expand_blocks<T>(t.data.data(), blocks, shape, t.block_oc, t.block_ic);
    values_ = storage_;
  }
  Span<const T> values() const { return values_; }

 private:
  std::vector<T> storage_;
  Span<const T> values_;
};

// linear takes plain rows, but a rank-4 activation may lie in planes: copied to plain rows before and to planes after.
class PlanarLinear : public PreparedKernel {
 public:
  PlanarLinear(const TensorDesc& x, const TensorDesc& y, const LinearProblem& problem, std::unique_ptr<PreparedKernel> linear,
               const KernelOptions& options)
      : linear_(std::move(linear)) {
    const TensorDesc rows_in = rows(x, problem.m, problem.ic), rows_out = rows(y, problem.m, problem.oc);
    unpack_ = prepare_reshape(x, rows_in, options);
    pack_ = prepare_reshape(rows_out, y, options);
    info_ = linear_->info();
    packed_bytes_ = linear_->packed_bytes();
    output_at_ = align_up(rows_in.bytes());
    scratch_at_ = output_at_ + align_up(rows_out.bytes());
    workspace_bytes_ = scratch_at_ + std::max({linear_->workspace_bytes(), unpack_->workspace_bytes(), pack_->workspace_bytes()});
  }

  void run(const KernelArgs& args) const noexcept override {
    auto* workspace = static_cast<uint8_t*>(args.workspace);
    const void* rows_in = workspace;
    const void* rows_out = workspace + output_at_;
    void* scratch = workspace + scratch_at_;
    unpack_->run({args.inputs, workspace, scratch, args.pool});
    linear_->run({&rows_in, workspace + output_at_, scratch, args.pool});
    pack_->run({&rows_out, args.output, scratch, args.pool});
  }

 private:
  static TensorDesc rows(const TensorDesc& like, int m, int columns) {
    TensorDesc d;
    d.dtype = like.dtype;
    d.quant = like.quant;
    d.rank = 2;
    d.dims[0] = m;
    d.dims[1] = columns;
    return d;
  }

  std::unique_ptr<PreparedKernel> unpack_, linear_, pack_;
  size_t output_at_ = 0, scratch_at_ = 0;
};

class StepPreparer {
 public:
  StepPreparer(const Model& model, const std::vector<TensorDesc>& descs, const Step& step, const KernelOptions& options)
      : model_(model),
        descs_(descs),
        step_(step),
        a_(step.attributes),
        options_(options),
        y_(descs[static_cast<size_t>(step.output)]) {}

  std::unique_ptr<PreparedKernel> prepare() const {
    switch (step_.op) {
      case Op::conv2d:
        return conv2d();
      case Op::conv_transpose2d:
        return conv_transpose2d();
      case Op::linear:
        return linear();
      case Op::max_pool2d:
        return pool(PoolProblem::Kind::max);
      case Op::average_pool2d:
        return pool(PoolProblem::Kind::average);
      case Op::global_average_pool:
        return pool(PoolProblem::Kind::global_average);
      case Op::affine:
        return prepare_affine({desc(0), y_, a_.activation}, dense_values<float>(tensor(1)), dense_values<float>(tensor(2)),
                              options_, optional_values<float>(3));
      case Op::unary:
        return prepare_unary({desc(0), y_, a_.activation}, options_);
      case Op::prelu:
        return prepare_prelu(desc(0), y_, dense_values<float>(tensor(1)), options_);
      case Op::binary:
        return prepare_binary({desc(0), desc(1), y_, static_cast<BinaryFunction>(a_.function), a_.activation}, options_);
      case Op::softmax:
        return prepare_softmax(desc(0), y_, a_.axis, false, options_);
      case Op::log_softmax:
        return prepare_softmax(desc(0), y_, a_.axis, true, options_);
      case Op::concat: {
        std::vector<TensorDesc> parts;
        for (size_t i = 0; i < step_.inputs.size(); ++i) parts.push_back(desc(i));
        return prepare_concat(parts, y_, a_.axis, options_);
      }
      case Op::slice:
        return prepare_slice(desc(0), y_, a_.starts, a_.steps, options_);
      case Op::transpose:
        return prepare_transpose(desc(0), y_, a_.perm, options_);
      case Op::reshape:
        return prepare_reshape(desc(0), y_, options_);
      case Op::channel_shuffle:
        return prepare_channel_shuffle(desc(0), y_, a_.groups, options_);
      case Op::pad:
        return prepare_pad(desc(0), y_, a_.before, static_cast<PadMode>(a_.mode), a_.value, options_);
      case Op::resize:
        return resize();
      case Op::quantize:
        return prepare_quantize(desc(0), y_, options_);
      case Op::dequantize:
        return prepare_dequantize(desc(0), y_, options_);
      case Op::requantize:
        return prepare_requantize(desc(0), y_, options_);
      case Op::reduce:
        return prepare_reduce(desc(0), y_, a_.axes, static_cast<Reduction>(a_.reduction), options_);
      case Op::arg_reduce:
        return prepare_arg_reduce(desc(0), y_, a_.axis, a_.largest, a_.select_last, options_);
      case Op::top_k:
        return prepare_top_k(desc(0), y_, a_.axis, a_.largest, options_);
      case Op::non_max_suppression:
        return prepare_non_max_suppression({desc(0), desc(1), y_, a_.max_per_class, a_.iou_threshold, a_.has_score_threshold,
                                            a_.score_threshold, a_.center_point_box},
                                           options_);
      case Op::roi_align:
        return prepare_roi_align(
            {desc(0), desc(1), desc(2), y_, a_.mode == 1, a_.coordinates == 0, a_.sampling_ratio, a_.spatial_scale}, options_);
      case Op::gather:
        return prepare_gather(desc(0), desc(1), y_, a_.axis, options_);
      case Op::gather_elements:
        return prepare_gather_elements(desc(0), desc(1), y_, a_.axis, options_);
      case Op::gather_nd:
        return prepare_gather_nd(desc(0), desc(1), y_, a_.batch_dims, options_);
      case Op::scatter_elements:
        return prepare_scatter_elements(desc(0), desc(1), desc(2), y_, a_.axis,
                                        static_cast<ScatterReduction>(a_.scatter_reduction), options_);
      case Op::scatter_nd:
        return prepare_scatter_nd(desc(0), desc(1), desc(2), y_, static_cast<ScatterReduction>(a_.scatter_reduction), options_);
      case Op::cast:
        return prepare_cast(desc(0), y_, options_);
      case Op::where:
        return prepare_where({desc(0), desc(1), desc(2), y_}, options_);
      case Op::recode:
        return prepare_recode(desc(0), y_, options_);
      case Op::matmul:
        return prepare_matmul(desc(0), desc(1), y_, options_);
      case Op::normalize:
        return prepare_normalize({desc(0), y_, a_.axis, a_.mode == 1, a_.epsilon}, optional_values<float>(1),
                                 optional_values<float>(2), options_);
      default:
        break;
    }
    fail(StatusCode::unsupported, "op ", static_cast<int>(step_.op), " has no kernel");
  }

 private:
  bool present(size_t i) const { return step_.input(i) != kAbsent; }
  const Tensor& tensor(size_t i) const { return model_.tensors[static_cast<size_t>(step_.inputs[i])]; }
  const TensorDesc& desc(size_t i) const { return descs_[static_cast<size_t>(step_.inputs[i])]; }

  // Input `i` if it is there, else no values.
  template <class T>
  Span<const T> optional_values(size_t i) const {
    return present(i) ? dense_values<T>(tensor(i)) : Span<const T>();
  }

  Conv2dS8Params s8_params() const {
    Conv2dS8Params quant;
    quant.input = desc(0).quant;
    quant.weight_scales = tensor(1).scales;
    quant.float_output = !y_.int8();
    quant.output = y_.quant;
    quant.has_intermediate = a_.has_intermediate;
    quant.intermediate = a_.intermediate;
    return quant;
  }

  // A set without depthwise kernels of its own is faster with its strip kernels than with the scalar ones.
  bool runs_depthwise(const Conv2dProblem& p, bool int8) const {
    if (!is_depthwise(p, int8)) return false;
    const Isa isa = select_kernel("depthwise", int8 ? "depthwise_s8" : "depthwise_f32", options_).isa;
    return isa != Isa::scalar || options_.isa == Isa::scalar;
  }

  std::unique_ptr<PreparedKernel> conv2d() const {
    const Tensor& w = tensor(1);
    Conv2dProblem p;
    p.input = desc(0).layout;
    p.output = y_.layout;
    if (present(3)) p.residual = desc(3).layout;
    p.kernel_h = w.dims[2];
    p.kernel_w = w.dims[3];
    p.stride_h = a_.strides[0];
    p.stride_w = a_.strides[1];
    p.pad_top = a_.pads[0];
    p.pad_left = a_.pads[1];
    p.dilation_h = a_.dilations[0];
    p.dilation_w = a_.dilations[1];
    p.groups = a_.groups;
    p.activation = a_.activation;
    if (!desc(0).int8()) {
      const auto prepare = runs_depthwise(p, false) ? prepare_depthwise_f32 : prepare_conv2d_f32;
      return prepare(p, WeightValues<float>(w).values(), optional_values<float>(2), options_, optional_values<float>(4));
    }
    Conv2dS8Params quant = s8_params();
    if (present(3)) quant.residual = desc(3).quant;
    const auto prepare = runs_depthwise(p, true) ? prepare_depthwise_s8 : prepare_conv2d_s8;
    return prepare(p, quant, WeightValues<int8_t>(w).values(), optional_values<int32_t>(2), options_, optional_values<float>(4));
  }

  std::unique_ptr<PreparedKernel> conv_transpose2d() const {
    const Tensor& w = tensor(1);
    ConvTranspose2dProblem p;
    p.input = desc(0).layout;
    p.output = y_.layout;
    p.kernel_h = w.dims[2];
    p.kernel_w = w.dims[3];
    p.stride_h = a_.strides[0];
    p.stride_w = a_.strides[1];
    p.pad_top = a_.pads[0];
    p.pad_left = a_.pads[1];
    p.dilation_h = a_.dilations[0];
    p.dilation_w = a_.dilations[1];
    p.groups = a_.groups;
    p.activation = a_.activation;
    return prepare_conv_transpose2d_f32(p, dense_values<float>(w), optional_values<float>(2), options_,
                                        optional_values<float>(3));
  }

  std::unique_ptr<PreparedKernel> linear() const {
    const Tensor& w = tensor(1);
    LinearProblem p;
    p.oc = w.dims[0];
    p.ic = w.dims[1];
    p.m = static_cast<int>(tensor(0).elements() / p.ic);
    p.activation = a_.activation;
    std::unique_ptr<PreparedKernel> kernel =
        desc(0).int8()
            ? prepare_linear_s8(p, s8_params(), WeightValues<int8_t>(w).values(), optional_values<int32_t>(2), options_)
            : prepare_linear_f32(p, WeightValues<float>(w).values(), optional_values<float>(2), options_);
    if (desc(0).straight() && y_.straight()) return kernel;
    return std::make_unique<PlanarLinear>(desc(0), y_, p, std::move(kernel), options_);
  }

  std::unique_ptr<PreparedKernel> pool(PoolProblem::Kind kind) const {
    PoolProblem p;
    p.kind = kind;
    p.input = desc(0);
    p.output = y_;
    p.kernel_h = a_.kernel_shape[0];
    p.kernel_w = a_.kernel_shape[1];
    p.stride_h = a_.strides[0];
    p.stride_w = a_.strides[1];
    p.pad_top = a_.pads[0];
    p.pad_left = a_.pads[1];
    p.pad_bottom = a_.pads[2];
    p.pad_right = a_.pads[3];
    p.dilation_h = a_.dilations[0];
    p.dilation_w = a_.dilations[1];
    p.count_include_pad = a_.count_include_pad;
    return prepare_pool(p, options_);
  }

  std::unique_ptr<PreparedKernel> resize() const {
    ResizeProblem p;
    p.mode = static_cast<ResizeProblem::Mode>(a_.mode);
    p.coordinates = static_cast<ResizeProblem::Coordinates>(a_.coordinates);
    p.nearest = static_cast<ResizeProblem::Nearest>(a_.nearest_mode);
    p.input = desc(0);
    p.output = y_;
    p.scale_h = a_.scales[0];
    p.scale_w = a_.scales[1];
    p.cubic_coeff = a_.cubic_coeff;
    return prepare_resize(p, options_);
  }

  const Model& model_;
  const std::vector<TensorDesc>& descs_;
  const Step& step_;
  const StepAttributes& a_;
  const KernelOptions& options_;
  const TensorDesc& y_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_step(const Model& model, const std::vector<TensorDesc>& descs, const Step& step,
                                             const KernelOptions& options) {
  return StepPreparer(model, descs, step, options).prepare();
}

std::vector<int> kernel_inputs(const Step& step) {
  if (step.op == Op::conv2d) return {step.inputs[0], step.input(3)};
  std::vector<int> activations;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (!is_weight_input(step.op, i)) activations.push_back(step.inputs[i]);
  }
  return activations;
}

}  // namespace edgelane
