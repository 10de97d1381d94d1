// Preparation of linear layers: choice of the kernel, packing, and the run over threads.
#include "kernels/linear/linear.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/status.hpp"
#include "formats/block_sparse.hpp"
#include "kernels/check.hpp"
#include "kernels/kernel_list.hpp"
#include "kernels/linear/linear_kernel.hpp"

namespace edgelane {

#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(extern const LinearKernel name;)
#include "kernels/linear/kernels.inc"
#undef EDGELANE_KERNEL

namespace {

constexpr const LinearKernel* kKernels[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(&name, )
#include "kernels/linear/kernels.inc"
#undef EDGELANE_KERNEL
};

class Gemm final : public PreparedKernel {
 public:
  template <class T>
  Gemm(const std::string& family, const LinearProblem& p, Span<const T> weights, const KernelOptions& options) : problem_(p) {
    if (p.m < 1 || p.ic < 1 || p.oc < 1 || weights.size() != static_cast<size_t>(p.oc) * p.ic)
      throw Error(StatusCode::invalid_argument, family + ": " + std::to_string(weights.size()) + " weights do not fit " +
                                                    std::to_string(p.oc) + " x " + std::to_string(p.ic) + ", " +
                                                    std::to_string(p.m) + " rows");
    kernel_ = &choose(kernel_candidates(family.c_str(), family, options), p.oc);
    const int step_elements = kernel_->step_bytes / static_cast<int>(sizeof(T));
    depth_ = (p.ic + step_elements - 1) / step_elements;
    tiles_ = (p.oc + kernel_->tile_channels - 1) / kernel_->tile_channels;
    channels_ = static_cast<size_t>(tiles_) * kernel_->tile_channels;
    const size_t step_bytes = static_cast<size_t>(kernel_->step_bytes);
    check_packed(family.c_str(), channels_ * static_cast<size_t>(depth_), step_bytes);
    weights_ = AlignedBuffer<uint8_t>(channels_ * depth_ * step_bytes);
    T* to = reinterpret_cast<T*>(weights_.data());
    for (int oc = 0; oc < p.oc; ++oc)
      for (int ic = 0; ic < p.ic; ++ic) {
        const size_t step = static_cast<size_t>(oc / kernel_->tile_channels) * depth_ + ic / step_elements;
        to[(step * kernel_->tile_channels + oc % kernel_->tile_channels) * step_elements + ic % step_elements] =
            weights[static_cast<size_t>(oc) * p.ic + ic];
      }

    info_.kernel = kernel_->name;
    info_.format = "dense";
    info_.isa = kernel_->isa;
    info_.density = density(weights);
    info_.macs = info_.dense_macs = static_cast<int64_t>(p.m) * p.oc * p.ic;
    packed_bytes_ = weights_.bytes();
    // Rows that do not end with a step are copied: reading past the last one would leave the tensor.
    if (p.ic % step_elements != 0) workspace_bytes_ = align_up(static_cast<size_t>(p.m) * depth_ * step_bytes);
  }

  void set_f32(Span<const float> bias) {
    bias_ = AlignedBuffer<float>(channels_);
    std::copy(bias.begin(), bias.end(), bias_.data());
    packed_bytes_ += bias_.bytes();
  }

  int input_bias() const { return kernel_->input_bias; }
  void set_s8(const FoldedScales& scales) {
    requantize_ = scales.requantize;
    bias_s32_ = AlignedBuffer<int32_t>(channels_);
    multiplier_ = AlignedBuffer<float>(channels_);
    std::copy(scales.bias.begin(), scales.bias.end(), bias_s32_.data());
    std::copy(scales.multiplier.begin(), scales.multiplier.end(), multiplier_.data());
    packed_bytes_ += bias_s32_.bytes() + multiplier_.bytes();
  }

  void run(const KernelArgs& args) const noexcept override {
    LinearArgs a{};
    a.x = static_cast<const uint8_t*>(args.inputs[0]);
    a.x_row_bytes = static_cast<int64_t>(problem_.ic) * (kernel_->int8 ? 1 : 4);
    if (workspace_bytes_ != 0) {
      uint8_t* rows = static_cast<uint8_t*>(args.workspace);
      const int64_t row_bytes = static_cast<int64_t>(depth_) * kernel_->step_bytes;
      std::memset(rows, 0, workspace_bytes_);  // the missing elements meet weights that are 0
      for (int m = 0; m < problem_.m; ++m)
        std::memcpy(rows + m * row_bytes, a.x + m * a.x_row_bytes, static_cast<size_t>(problem_.ic));
      a.x = rows;
      a.x_row_bytes = row_bytes;
    }
    a.y = args.output;
    a.weights = weights_.data();
    a.oc = problem_.oc;
    a.depth = depth_;
    a.bias = bias_.data();
    a.multiplier = multiplier_.data();
    a.bias_s32 = bias_s32_.data();
    a.activation = FloatActivation(problem_.activation);
    a.requantize = requantize_;

    // A task is one tile of channels for a strip of rows that stays in the second-level cache.
    constexpr int kRowsOfTask = 96;
    const int strips = (problem_.m + kRowsOfTask - 1) / kRowsOfTask;
    args.pool->parallel_for(strips * tiles_, [&](int task, int) {
      const int strip = task / tiles_, tile = task % tiles_;
      kernel_->run(a, tile, strip * kRowsOfTask, std::min(problem_.m, (strip + 1) * kRowsOfTask));
    });
  }

 private:
  // The one whose tiles fill up best; the first of several.
  static const LinearKernel& choose(const std::vector<const KernelEntry*>& candidates, int oc) {
    const LinearKernel* best = nullptr;
    int64_t fewest = 0;
    for (const KernelEntry* entry : candidates) {
      const LinearKernel& kernel = kernel_of(kKernels, *entry);
      const int64_t channels = (int64_t{oc} + kernel.tile_channels - 1) / kernel.tile_channels * kernel.tile_channels;
      if (best == nullptr || channels < fewest) best = &kernel, fewest = channels;
    }
    return *best;
  }

  LinearProblem problem_;
  const LinearKernel* kernel_ = nullptr;
  int depth_ = 0, tiles_ = 0;
  size_t channels_ = 0;  // oc rounded up to whole tiles
  AlignedBuffer<uint8_t> weights_;
  AlignedBuffer<float> bias_, multiplier_;
  AlignedBuffer<int32_t> bias_s32_;
  Requantize requantize_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_linear_f32(const LinearProblem& problem, Span<const float> weights,
                                                   Span<const float> bias, const KernelOptions& options) {
  check_per_channel("linear_f32", "biases", bias.size(), problem.oc);
  auto gemm = std::make_unique<Gemm>("linear_f32", problem, weights, options);
  gemm->set_f32(bias);
  return gemm;
}

std::unique_ptr<PreparedKernel> prepare_linear_s8(const LinearProblem& problem, const Conv2dS8Params& quant,
                                                  Span<const int8_t> weights, Span<const int32_t> bias,
                                                  const KernelOptions& options) {
  check_quantized("linear_s8", bias.size(), quant.weight_scales.size(), problem.oc);
  auto gemm = std::make_unique<Gemm>("linear_s8", problem, weights, options);
  Conv2dS8Params own = quant;
  own.has_intermediate = false;
  gemm->set_s8(fold_scales(own, problem.activation, {}, false, problem.oc, weights, bias, gemm->input_bias()));
  return gemm;
}

}  // namespace edgelane
