// Preparation of Winograd convolutions: transformed weights, blocks of tiles, and the run over threads.
#include "kernels/winograd/winograd.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/status.hpp"
#include "formats/block_sparse.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/conv2d/geometry.hpp"
#include "kernels/conv2d/requantize.hpp"
#include "kernels/kernel_list.hpp"
#include "kernels/winograd/winograd_kernel.hpp"

namespace edgelane {

#define EDGELANE_KERNEL(family, name, isa) EDGELANE_IF_BUILT_##isa(extern const WinogradKernel name;)
#include "kernels/winograd/kernels.inc"
#undef EDGELANE_KERNEL

namespace {

constexpr const WinogradKernel* kKernels[] = {
#define EDGELANE_KERNEL(family, name, isa) EDGELANE_IF_BUILT_##isa(&name, )
#include "kernels/winograd/kernels.inc"
#undef EDGELANE_KERNEL
};

constexpr int kTaps = 9;
constexpr size_t kSecondLevelBytes = 768 * 1024;  // of a cache of 1 MB or more, what the transformed inputs of a block may take

const WinogradKernel& kernel_for(const KernelOptions& options) {
  return kernel_of(kKernels, select_kernel("winograd", "winograd_f32", options));
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

constexpr int kMaxBlockOc = 8;
using Lanes = double[kMaxBlockOc];  // of some output channels

// Three taps to their values at the six points, each divided by the product of the point's differences from the others.
void transform_three(const Lanes& g0, const Lanes& g1, const Lanes& g2, Lanes* u, int step) {
  constexpr double a = kPointA, b = kPointB, a2 = 0.5, b2 = 2.0;
  constexpr double at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));
  for (int o = 0; o < kMaxBlockOc; ++o) {
    u[0][o] = g0[o];  // a^2 b^2 = 1
    u[step][o] = (g0[o] + a * g1[o] + a2 * g2[o]) * at_a;
    u[2 * step][o] = (g0[o] - a * g1[o] + a2 * g2[o]) * at_a;
    u[3 * step][o] = (g0[o] + b * g1[o] + b2 * g2[o]) * at_b;
    u[4 * step][o] = (g0[o] - b * g1[o] + b2 * g2[o]) * at_b;
    u[5 * step][o] = g2[o];
  }
}

class WinogradConv final : public PreparedKernel {
 public:
  WinogradConv(const Conv2dProblem& p, Span<const float> weights, Span<const float> bias, Span<const float> slope,
               const KernelOptions& options)
      : problem_(p), kernel_(kernel_for(options)), slope_(channel_slopes(p.activation, slope, p.output.channels)) {
    check_conv2d(p);
    check(is_winograd(p), "winograd_f32", "the convolution is not 3x3 with stride 1, without dilation and groups");
    const int oc = p.output.channels, ic = p.input.channels;
    check(weights.size() == static_cast<size_t>(oc) * ic * kTaps, "winograd_f32",
          std::to_string(weights.size()) + " weights do not fit " + std::to_string(oc) + " x " + std::to_string(ic) + " x 9");
    tile_columns_ = divide_up(p.output.width, kWinogradTile);
    tiles_ = tile_columns_ * divide_up(p.output.height, kWinogradTile);
    plan_blocks();
    oc_blocks_ = divide_up(oc, kernel_.block_oc);
    weights_ = AlignedBuffer<float>(static_cast<size_t>(oc_blocks_) * kernel_.block_oc * ic * kWinogradPlanes);
    pack(weights);
    bias_ = AlignedBuffer<float>(static_cast<size_t>(oc_blocks_) * kernel_.block_oc);
    std::copy(bias.begin(), bias.end(), bias_.data());

    info_.kernel = kernel_.name;
    info_.isa = kernel_.isa;
    info_.format = "winograd";
    info_.density = density(weights);
    info_.macs = int64_t{kWinogradPlanes} * ic * oc * tiles_ * p.output.batch;
    info_.dense_macs = static_cast<int64_t>(weights.size()) * p.output.height * p.output.width * p.output.batch;
    packed_bytes_ = weights_.bytes() + bias_.bytes() + slope_.size() * sizeof(float);
    workspace_bytes_ = sizeof(float) * kWinogradPlanes * ic * block_vectors_ * kernel_.lanes;
    if (p.residual.channels != 0 && same_layout(p.residual, p.output)) allow_replacing(1);
  }

  void run(const KernelArgs& args) const noexcept override {
    const PlanarLayout& out = problem_.output;
    for (int image = 0; image < out.batch; ++image) {
      const WinogradArgs a = arguments(args, image);
      for (int block = 0; block < blocks_; ++block) {
        const int first = vectors_ * block / blocks_, count = vectors_ * (block + 1) / blocks_ - first;
        const int first_tile = first * kernel_.lanes;
        constexpr int kChannels = 4;  // of a task: some microseconds
        args.pool->parallel_for(divide_up(a.input_channels, kChannels), [&](int task, int) {
          const int channel = task * kChannels;
          kernel_.transform_input(a, first_tile, count, channel, std::min(channel + kChannels, a.input_channels));
        });
        args.pool->parallel_for(oc_blocks_, [&](int task, int) {
          kernel_.multiply(a, first_tile, count, task, task + 1);
          if (block == blocks_ - 1) restore_borders(args.output, image, task);
        });
      }
    }
  }

 private:
  // As few blocks as keep the transformed inputs of each in the second-level cache, of nearly equal size.
  void plan_blocks() {
    vectors_ = divide_up(tiles_, kernel_.lanes);
    const size_t vector_bytes = sizeof(float) * kWinogradPlanes * problem_.input.channels * kernel_.lanes;
    const int most = std::clamp(static_cast<int>(kSecondLevelBytes / vector_bytes), 1, kernel_.max_vectors);
    blocks_ = divide_up(vectors_, most);
    block_vectors_ = divide_up(vectors_, blocks_);
  }

  void pack(Span<const float> weights) {
    const int ic = problem_.input.channels, block_oc = kernel_.block_oc;
    float* to = weights_.data();
    for (int block = 0; block < oc_blocks_; ++block, to += static_cast<int64_t>(kWinogradPlanes - 1) * ic * block_oc) {
      const int channels = std::min(block_oc, problem_.output.channels - block * block_oc);
      for (int c = 0; c < ic; ++c, to += block_oc) {
        Lanes taps[kTaps] = {}, columns[kWinogradPatch * 3], u[kWinogradPlanes];
        for (int o = 0; o < channels; ++o) {
          const float* g = weights.data() + (static_cast<int64_t>(block * block_oc + o) * ic + c) * kTaps;
          for (int t = 0; t < kTaps; ++t) taps[t][o] = g[t];
        }
        for (int x = 0; x < 3; ++x) transform_three(taps[x], taps[3 + x], taps[6 + x], columns + x, 3);
        for (int r = 0; r < kWinogradPatch; ++r)
          transform_three(columns[3 * r], columns[3 * r + 1], columns[3 * r + 2], u + r * kWinogradPatch, 1);
        for (int p = 0; p < kWinogradPlanes; ++p)
          for (int o = 0; o < block_oc; ++o) to[static_cast<int64_t>(p) * ic * block_oc + o] = static_cast<float>(u[p][o]);
      }
    }
  }

  WinogradArgs arguments(const KernelArgs& args, int image) const noexcept {
    const PlanarLayout &in = problem_.input, &out = problem_.output, &res = problem_.residual;
    WinogradArgs a{};
    a.input = static_cast<const float*>(args.inputs[0]) + int64_t{image} * in.channels * in.plane +
              in.index(-problem_.pad_top, -problem_.pad_left);
    a.output = static_cast<float*>(args.output) + int64_t{image} * out.channels * out.plane + out.origin;
    if (res.channels != 0)
      a.residual = static_cast<const float*>(args.inputs[1]) + int64_t{image} * res.channels * res.plane + res.origin;
    a.input_plane = in.plane;
    a.residual_plane = res.plane;
    a.output_plane = out.plane;
    a.input_pitch = in.pitch;
    a.residual_pitch = res.pitch;
    a.output_pitch = out.pitch;
    a.input_channels = in.channels;
    a.output_channels = out.channels;
    a.input_rows = out.height + 2;
    a.input_columns = out.width + 2;
    a.height = out.height;
    a.width = out.width;
    a.tile_columns = tile_columns_;
    a.tiles = tiles_;
    a.weights = weights_.data();
    a.bias = bias_.data();
    a.slope = slope_.empty() ? nullptr : slope_.data();
    a.activation = FloatActivation(problem_.activation);
    a.products = static_cast<float*>(args.workspace);
    return a;
  }

  void restore_borders(void* output, int image, int oc_block) const noexcept {
    const PlanarLayout& out = problem_.output;
    const int last = std::min((oc_block + 1) * kernel_.block_oc, out.channels);
    for (int oc = oc_block * kernel_.block_oc; oc < last; ++oc)
      fill_border(static_cast<float*>(output) + (int64_t{image} * out.channels + oc) * out.plane, out, 0);
  }

  Conv2dProblem problem_;
  const WinogradKernel& kernel_;
  int tile_columns_ = 0, tiles_ = 0, vectors_ = 0, blocks_ = 0, block_vectors_ = 0, oc_blocks_ = 0;
  AlignedBuffer<float> weights_, bias_;
  std::vector<float> slope_;
};

}  // namespace

bool is_winograd(const Conv2dProblem& p) noexcept {
  return p.kernel_h == 3 && p.kernel_w == 3 && p.stride_h == 1 && p.stride_w == 1 && p.dilation_h == 1 && p.dilation_w == 1 &&
         p.groups == 1;
}

double winograd_cost(const Conv2dProblem& p, const KernelOptions& options) {
  const WinogradKernel& k = kernel_for(options);
  const int tiles = divide_up(p.output.width, kWinogradTile) * divide_up(p.output.height, kWinogradTile);
  const double vectors = divide_up(tiles, k.lanes), ic = p.input.channels;
  const double oc = divide_up(p.output.channels, k.block_oc) * k.block_oc;
  // Fitted with AVX-512 to maps of 14x14 to 192x320 with 16 to 256 channels: predicted are 0.76 (14x14, whose weights bind)
  // to 1.08 of the gains measured. The weights, four times as many bytes as the direct form's, come from beyond the second-level
  // cache.
  constexpr double kTransforms = 420, kStreamedWeight = 0.5;
  return kWinogradPlanes * ic * oc * (vectors + kStreamedWeight) + kTransforms * (ic + oc) * vectors;
}

std::unique_ptr<PreparedKernel> prepare_winograd_f32(const Conv2dProblem& problem, Span<const float> weights,
                                                     Span<const float> bias, const KernelOptions& options,
                                                     Span<const float> slope) {
  check_per_channel("winograd_f32", "biases", bias.size(), problem.output.channels);
  check_slopes("winograd_f32", slope.size(), problem.activation, problem.output.channels);
  return std::make_unique<WinogradConv>(problem, weights, bias, slope, options);
}

}  // namespace edgelane
