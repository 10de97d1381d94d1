// Preparation of depthwise convolutions: choice of the kernel, packing, and the run over planes and threads.
#include "kernels/depthwise/depthwise.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/status.hpp"
#include "formats/block_sparse.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/conv2d/geometry.hpp"
#include "kernels/depthwise/depthwise_kernel.hpp"
#include "kernels/kernel_list.hpp"
#include "kernels/split.hpp"

namespace edgelane {

#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(extern const DepthwiseKernel name;)
#include "kernels/depthwise/kernels.inc"
#undef EDGELANE_KERNEL

namespace {

constexpr const DepthwiseKernel* kKernels[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(&name, )
#include "kernels/depthwise/kernels.inc"
#undef EDGELANE_KERNEL
};

class DepthwiseConv final : public PreparedKernel {
 public:
  template <class T>
  DepthwiseConv(const std::string& operation, const Conv2dProblem& p, Span<const T> weights, const KernelOptions& options)
      : problem_(p), int8_(sizeof(T) == 1), channels_alike_(p.input.channels == p.output.channels) {
    check_conv2d(p);
    check(is_depthwise(p, int8_), operation.c_str(), "the convolution is not depthwise");
    const size_t taps = static_cast<size_t>(p.kernel_h) * p.kernel_w;
    check(weights.size() == taps * p.output.channels, operation.c_str(),
          std::to_string(weights.size()) + " weights do not fit " + std::to_string(p.output.channels) + " channels of " +
              std::to_string(taps));
    const KernelEntry& entry = select_kernel("depthwise", operation, options);
    const DepthwiseKernel& kernel = kernel_of(kKernels, entry);
    plan(kernel);
    input_bias_ = kernel.input_bias;
    info_.kernel = kernel.name;
    info_.isa = kernel.isa;
    info_.format = "dense";
    info_.density = density(weights);
    info_.dense_macs = static_cast<int64_t>(weights.size()) * p.output.batch * p.output.height * p.output.width;
    info_.macs = info_.dense_macs;
  }

  int input_bias() const { return input_bias_; }
  void set_f32(Span<const float> weights, Span<const float> bias, std::vector<float> slope) {
    slope_ = std::move(slope);
    slope_step_ = 1;
    weights_ = AlignedBuffer<uint8_t>(weights.size() * sizeof(float));
    std::copy(weights.begin(), weights.end(), reinterpret_cast<float*>(weights_.data()));
    weight_bytes_ = static_cast<size_t>(args_.kernel_h) * args_.kernel_w * sizeof(float);
    bias_ = AlignedBuffer<uint8_t>(static_cast<size_t>(problem_.output.channels) * sizeof(float));
    std::copy(bias.begin(), bias.end(), reinterpret_cast<float*>(bias_.data()));
    bias_bytes_ = sizeof(float);
    packed_bytes_ = weights_.bytes() + bias_.bytes() + slope_.size() * sizeof(float);
  }

  void set_s8(Span<const int8_t> weights, const FoldedScales& scales) {
    args_.requantize = scales.requantize;
    const int channels = problem_.output.channels, groups = problem_.output.groups(true);
    const int quads = (args_.kernel_w + kChannelGroup - 1) / kChannelGroup;
    weight_bytes_ = static_cast<size_t>(args_.kernel_h) * quads * kDepthwiseLanes * kChannelGroup;
    weights_ = AlignedBuffer<uint8_t>(weight_bytes_ * groups);
    bias_bytes_ = kDepthwiseLanes * sizeof(int32_t);
    bias_ = AlignedBuffer<uint8_t>(bias_bytes_ * groups);
    multiplier_ = AlignedBuffer<float>(static_cast<size_t>(groups) * kDepthwiseLanes);
    slope_.resize(scales.slope.empty() ? 0 : multiplier_.size());
    slope_step_ = kDepthwiseLanes;
    auto* bias = reinterpret_cast<int32_t*>(bias_.data());
    for (int group = 0; group < groups; ++group)
      for (int lane = 0; lane < kDepthwiseLanes; ++lane) {
        const int channel = group * kChannelGroup + lane % kChannelGroup;
        if (channel >= channels) continue;
        const size_t at = static_cast<size_t>(group) * kDepthwiseLanes + lane;
        bias[at] = scales.bias[static_cast<size_t>(channel)];
        multiplier_[at] = scales.multiplier[static_cast<size_t>(channel)];
        if (!slope_.empty()) slope_[at] = scales.slope[static_cast<size_t>(channel)];
        for (int ky = 0; ky < args_.kernel_h; ++ky)
          for (int kx = 0; kx < args_.kernel_w; ++kx) {
            const size_t vector = static_cast<size_t>(ky) * quads + kx / 4;
            const size_t byte = (vector * kDepthwiseLanes + lane) * 4 + kx % 4;
            const size_t tap = (static_cast<size_t>(channel) * args_.kernel_h + ky) * args_.kernel_w + kx;
            weights_[weight_bytes_ * group + byte] = static_cast<uint8_t>(weights[tap]);
          }
      }
    packed_bytes_ = weights_.bytes() + bias_.bytes() + multiplier_.bytes() + slope_.size() * sizeof(float);
  }

  void run(const KernelArgs& args) const noexcept override {
    const PlanarLayout& out = problem_.output;
    const int groups = out.groups(int8_);
    parallel_ranges(*args.pool, static_cast<int64_t>(out.batch) * groups, problem_.input.plane, [&](int64_t begin, int64_t end) {
      int image = static_cast<int>(begin / groups), group = static_cast<int>(begin % groups);
      for (int64_t i = begin; i < end;) {
        const int64_t count = run_whole_ != nullptr && channels_alike_ ? std::min<int64_t>(end - i, groups - group) : 1;
        run_planes(args, image, group, i, count);
        i += count;
        group += static_cast<int>(count);
        if (group == groups) ++image, group = 0;
      }
    });
  }

 private:
  void plan(const DepthwiseKernel& kernel) {
    const Conv2dProblem& p = problem_;
    args_.kernel_h = p.kernel_h;
    args_.kernel_w = p.kernel_w;
    args_.rows = p.output.height;
    args_.width = p.output.width;
    args_.x_next_row = static_cast<int64_t>(p.stride_h) * p.input.pitch;
    args_.x_tap_row = static_cast<int64_t>(p.dilation_h) * p.input.pitch;
    args_.x_tap = p.dilation_w;
    args_.y_pitch = p.output.pitch;
    args_.y_plane = p.output.plane;
    args_.residual_pitch = p.residual.pitch;
    args_.activation = FloatActivation(p.activation);

    // With stride 1, output rows that a dilation apart read rows that are the same number apart, as without dilation.
    args_.row_step = p.stride_h == 1 ? p.dilation_h : 1;
    const bool narrow = p.output.width < kernel.lanes;
    const bool square = p.kernel_h == p.kernel_w && (p.kernel_h == 3 || p.kernel_h == 5 || p.kernel_h == 7);
    const bool stride_1 = p.stride_h == 1 && p.stride_w == 1;
    const bool stride_2 = p.stride_h == 2 && p.stride_w == 2 && p.dilation_h == 1 && p.dilation_w == 1;
    run_ = kernel.any[p.stride_w - 1][narrow];
    if (square && (stride_1 || stride_2) && p.output.height / args_.row_step >= kernel.fast_rows[p.stride_w - 1]) {
      const DepthwiseFunction fast = kernel.fast[(p.kernel_h - 3) / 2][p.stride_w - 1][narrow];
      if (fast != nullptr) run_ = fast;
    }
    if (square && (stride_1 || stride_2) && p.dilation_h == 1 && p.dilation_w == 1) plan_whole_planes(kernel);
  }

  // Rows of the output are columns of vectors. The last one ends where the gap does, if that takes no vector more than the
  // pixels.
  void plan_whole_planes(const DepthwiseKernel& kernel) {
    const PlanarLayout &in = problem_.input, &out = problem_.output, &res = problem_.residual;
    const int lanes = kernel.lanes, vectors = (out.width + lanes - 1) / lanes;
    const bool fits = out.pitch <= vectors * lanes;
    args_.last_column = std::max(0, (fits ? out.pitch : out.width) - lanes);
    args_.last_extent = (std::max(lanes, out.pitch - args_.last_column) + lanes - 1) / lanes * lanes;
    args_.x_plane = in.plane;
    args_.residual_plane = res.plane;
    args_.y_origin = out.origin;
    const int last_row = out.height - 1, stride = problem_.stride_w, kernel_size = args_.kernel_w;
    // What the last row of taps of the last vector is read from.
    const int64_t row = in.index(last_row * stride + kernel_size - 1 - problem_.pad_top, -problem_.pad_left);
    const int64_t read = row + int64_t{args_.last_column} * stride + kernel_size - stride + int64_t{lanes} * stride;
    const bool inside = read <= in.plane && out.index(last_row, args_.last_column) + args_.last_extent <= out.plane &&
                        (res.channels == 0 || res.index(last_row, args_.last_column) + lanes <= res.plane);
    if (inside) run_whole_ = kernel.whole[(kernel_size - 3) / 2][stride - 1][args_.last_column == 0];
  }

  // index: of the plane (image * groups + group) in the output and in the residual. More than one plane for run_whole_ alone.
  void run_planes(const KernelArgs& args, int image, int group, int64_t index, int64_t count) const noexcept {
    const PlanarLayout &in = problem_.input, &out = problem_.output, &res = problem_.residual;
    const int64_t source = channels_alike_ ? index : int64_t{image} * in.channels + group / (out.channels / in.channels);
    const auto* x = static_cast<const uint32_t*>(args.inputs[0]) + source * in.plane + in.origin;
    const bool floats = int8_ && args_.requantize.float_output;
    const int channels = int8_ ? std::min<int>(kChannelGroup, out.channels - group * kChannelGroup) : 1;
    const int64_t target = floats ? int64_t{image} * out.channels + group * kChannelGroup : index;
    uint32_t* y = static_cast<uint32_t*>(args.output) + target * out.plane;

    DepthwisePlane plane{};
    plane.x = reinterpret_cast<const uint8_t*>(x - static_cast<int64_t>(problem_.pad_top) * in.pitch - problem_.pad_left);
    if (res.channels != 0) {
      const auto* residual = static_cast<const uint32_t*>(args.inputs[1]) + index * res.plane + res.origin;
      plane.residual = reinterpret_cast<const uint8_t*>(residual);
    }
    plane.y = reinterpret_cast<uint8_t*>(y + out.origin);
    plane.weights = weights_.data() + weight_bytes_ * group;
    plane.bias = bias_.data() + bias_bytes_ * group;
    plane.multiplier = int8_ ? multiplier_.data() + static_cast<size_t>(group) * kDepthwiseLanes : nullptr;
    plane.slope = slope_.empty() ? nullptr : slope_.data() + slope_step_ * group;
    plane.channels = channels;
    if (run_whole_ != nullptr) return run_whole_(args_, plane, count);
    run_(args_, plane);
    if (floats) {
      for (int c = 0; c < channels; ++c) fill_border(y + c * out.plane, out, 0);
    } else {
      fill_border(y, out, int8_ ? args_.requantize.output_border : 0);
    }
  }

  Conv2dProblem problem_;
  bool int8_, channels_alike_;
  DepthwiseArgs args_{};
  DepthwiseFunction run_ = nullptr;
  DepthwisePlanesFunction run_whole_ = nullptr;  // instead of it
  int input_bias_ = 0;
  AlignedBuffer<uint8_t> weights_, bias_;
  AlignedBuffer<float> multiplier_;
  std::vector<float> slope_;
  size_t weight_bytes_ = 0, bias_bytes_ = 0, slope_step_ = 0;  // of one plane
};

}  // namespace

bool is_depthwise(const Conv2dProblem& p, bool int8) noexcept {
  if (p.groups <= 1 || p.groups != p.input.channels || p.output.channels % p.groups != 0 || p.stride_w > 2) return false;
  return !int8 || p.output.channels == p.groups;
}

std::unique_ptr<PreparedKernel> prepare_depthwise_f32(const Conv2dProblem& problem, Span<const float> weights,
                                                      Span<const float> bias, const KernelOptions& options,
                                                      Span<const float> slope) {
  check_per_channel("depthwise_f32", "biases", bias.size(), problem.output.channels);
  check_slopes("depthwise_f32", slope.size(), problem.activation, problem.output.channels);
  auto conv = std::make_unique<DepthwiseConv>("depthwise_f32", problem, weights, options);
  conv->set_f32(weights, bias, channel_slopes(problem.activation, slope, problem.output.channels));
  return conv;
}

std::unique_ptr<PreparedKernel> prepare_depthwise_s8(const Conv2dProblem& problem, const Conv2dS8Params& quant,
                                                     Span<const int8_t> weights, Span<const int32_t> bias,
                                                     const KernelOptions& options, Span<const float> slope) {
  const int channels = problem.output.channels;
  check_quantized("depthwise_s8", bias.size(), quant.weight_scales.size(), channels);
  check_slopes("depthwise_s8", slope.size(), problem.activation, channels);
  auto conv = std::make_unique<DepthwiseConv>("depthwise_s8", problem, weights, options);
  conv->set_s8(weights, fold_scales(quant, problem.activation, channel_slopes(problem.activation, slope, channels),
                                    problem.residual.channels != 0, channels, weights, bias, conv->input_bias()));
  return conv;
}

}  // namespace edgelane
