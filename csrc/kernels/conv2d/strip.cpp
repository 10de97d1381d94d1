// Preparation of strip convolutions: choice of the kernel and packing, tiles, and the run over threads.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/status.hpp"
#include "formats/block_sparse.hpp"
#include "kernels/check.hpp"
#include "kernels/conv2d/conv2d.hpp"
#include "kernels/conv2d/pack.hpp"
#include "kernels/conv2d/strip_kernel.hpp"
#include "kernels/kernel_list.hpp"
#include "kernels/winograd/winograd.hpp"

namespace edgelane {

#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(extern const StripKernel name;)
#include "kernels/conv2d/kernels.inc"
#undef EDGELANE_KERNEL

namespace {

constexpr const StripKernel* kKernels[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(&name, )
#include "kernels/conv2d/kernels.inc"
#undef EDGELANE_KERNEL
};

constexpr size_t kFirstLevelBytes = 28 * 1024;  // of a 32 KB cache, what the part of the input that a tile reads may take

constexpr size_t kPrefetchBytes = 1024 * 1024;    // below, prefetching the output took longer than it saved
constexpr size_t kSecondLevelBytes = 512 * 1024;  // of a cache of 1 MB or more, what the weights of a task may take

// With fewer blocks in a chunk than this, fewer chunks were faster (ResNet-50's layers at 90 % sparsity, AVX-512).
int min_chunk_blocks(const StripKernel& k) {
  if (k.form == WeightForm::f32) return k.block_oc == 1 ? 24 : 40;
  return k.block_oc == 1 ? 14 : 30;
}

// Time of a kernel relative to others of its instruction set: one for each weight of a dense layer in blocks of eight channels.
// From ResNet-50's layers at 20 to 90 % sparsity (`edgelane_benchmarks break-even`, AVX-512 and VNNI), where a multiply-add of
// blocks took 0.9 to 1.05, of single channels 1.1 to 1.6 without taps, and with them 1.5 to 2.8 in place and 1.1 to 1.6 staged.
double cost(const StripKernel& k, int64_t blocks, const Conv2dProblem& p) {
  const int taps = p.kernel_h * p.kernel_w;
  const int plane_channels = k.form == WeightForm::f32 ? 1 : kChannelGroup;
  const double rows = std::ceil(static_cast<double>(p.input.channels) / p.groups / plane_channels) * taps, oc = p.output.channels;
  // A map that is one tile reads its weights once: 0.88 to 1.0 of the time of two tiles (7x7 maps).
  const bool one_tile = int64_t{p.output.height} * p.output.width <= int64_t{k.max_vectors} * k.lanes;
  const double multiply_adds = static_cast<double>(blocks) * k.block_oc * (one_tile ? 0.92 : 1.0);
  if (k.method == StripMethod::staged) {
    // Without taps no load crosses a line, and staging gained nothing within a network (0.97 to 1.05 of the time).
    if (taps == 1) return std::numeric_limits<double>::infinity();
    return 1.4 * multiply_adds + 0.04 * rows * oc + 5.0 * p.groups * rows;  // lists, and a copy of each row
  }
  if (k.block_oc > 1) return multiply_adds * (k.block_oc == 4 ? 1.05 : 1.0);
  return (taps == 1 ? 1.4 : 2.0) * multiply_adds + 0.05 * rows * oc;
}

// What fills the first-level cache but for some sums and weights: 40 of 48 KB took 0.92 to 1.0 of the time of 28. How the input
// is cut changes no result.
int staged_bytes() {
  const long cache = ::sysconf(_SC_LEVEL1_DCACHE_SIZE);
  return cache <= 0 ? static_cast<int>(kFirstLevelBytes) : static_cast<int>(std::min<long>(kStagedBytes, cache / 6 * 5));
}

const char* format_name(const StripKernel& k, bool full) {
  if (full) return "dense";
  if (k.form == WeightForm::f32) return k.block_oc == 1 ? "unstructured" : k.block_oc == 4 ? "4x1" : "8x1";
  return k.block_oc == 1 ? "1x4" : k.block_oc == 4 ? "4x4" : "8x4";
}

struct StripChoice {
  const StripKernel* kernel;
  int64_t blocks;
  double cost;  // multiply-adds of whole vectors by the fastest kernel, for a vector of positions
};

StripChoice choose(const std::string& family, const Conv2dProblem& p, const WeightRows& rows, const KernelOptions& options) {
  StripChoice best{nullptr, 0, 0};
  for (const KernelEntry* entry : kernel_candidates(family.c_str(), family, options)) {
    const StripKernel& k = kernel_of(kKernels, *entry);
    const int64_t blocks = count_blocks(rows, k.block_oc);
    const double c = cost(k, blocks, p);
    if (best.kernel == nullptr || c < best.cost) best = {&k, blocks, c};
  }
  return best;
}

// The weights' shape, for a problem and weights that fit each other.
ConvWeights checked_shape(const char* family, const Conv2dProblem& p, size_t weights) {
  check_conv2d(p);
  const ConvWeights shape{p.output.channels, p.input.channels, p.groups, p.kernel_h * p.kernel_w};
  check(weights == static_cast<size_t>(shape.oc) * shape.group_ic() * shape.taps, family,
        std::to_string(weights) + " weights do not fit " + std::to_string(shape.oc) + " x " + std::to_string(shape.ic) + " / " +
            std::to_string(p.groups) + " x " + std::to_string(shape.taps));
  return shape;
}

class StripConv final : public PreparedKernel {
 public:
  template <class T>
  StripConv(const Conv2dProblem& p, Span<const T> weights, const WeightRows& rows, const StripChoice& choice,
            const KernelOptions& options)
      : problem_(p), kernel_(choice.kernel) {
    const ConvWeights& shape = rows.shape();
    constexpr bool kInt8 = sizeof(T) == 1;
    geometry_ = plan_strip(p, kInt8, kernel_->lanes);
    oc_blocks_ = (shape.oc + kernel_->block_oc - 1) / kernel_->block_oc;
    group_blocks_ = group_blocks(kernel_->block_oc);
    const int tile_vectors =
        options.tile_vectors > 0 ? std::min(options.tile_vectors, kernel_->max_vectors) : kernel_->max_vectors;
    const int chunk =
        options.chunk_planes > 0 ? std::min(options.chunk_planes, geometry_.planes) : chunk_planes(choice.blocks, tile_vectors);
    plan_tiles(tile_vectors, options.threads);
    workspace_bytes_ = static_cast<size_t>(geometry_.workspace_elements(p.input.batch)) * sizeof(float);
    if (kernel_->method == StripMethod::staged) {
      stage(rows, options);
    } else {
      blocks_ = pack_blocks(rows, geometry_, kernel_->block_oc, kernel_->form, chunk, false);
      chunks_ = std::max(1, (geometry_.planes + chunk - 1) / chunk);
    }

    const int64_t pixels = static_cast<int64_t>(p.output.batch) * p.output.height * p.output.width;
    const int64_t block_weights = kernel_->block_oc * (kInt8 ? kChannelGroup : 1);
    info_.kernel = kernel_->name;
    info_.isa = kernel_->isa;
    info_.density = density(weights);
    info_.macs = blocks_.blocks * block_weights * pixels;
    info_.dense_macs = static_cast<int64_t>(weights.size()) * pixels;
    info_.format = format_name(*kernel_, info_.macs >= info_.dense_macs);
    packed_bytes_ = blocks_.bytes() + geometry_.table_bytes() + tiles_.size() * sizeof(int32_t);
    input_planes_ = p.input.groups(kInt8);
    residual_planes_ = p.residual.channels == 0 ? 0 : p.residual.groups(kInt8);
    output_planes_ = p.output.groups(kInt8);
  }

  void set_f32(Span<const float> bias, Span<const float> slope) {
    allow_replacing_residual();
    set_slope(slope);
    bias_f32_ = AlignedBuffer<float>(padded_channels());
    std::copy(bias.begin(), bias.end(), bias_f32_.data());
    packed_bytes_ += bias_f32_.bytes();
  }

  int input_bias() const { return kernel_->input_bias; }
  void set_s8(const FoldedScales& scales) {
    requantize_ = scales.requantize;
    set_slope(scales.slope);
    if (requantize_.float_output)
      output_planes_ = problem_.output.channels;
    else
      allow_replacing_residual();
    bias_s32_ = AlignedBuffer<int32_t>(padded_channels());
    multiplier_ = AlignedBuffer<float>(padded_channels());
    std::copy(scales.bias.begin(), scales.bias.end(), bias_s32_.data());
    std::copy(scales.multiplier.begin(), scales.multiplier.end(), multiplier_.data());
    packed_bytes_ += bias_s32_.bytes() + multiplier_.bytes();
  }

  void run(const KernelArgs& args) const noexcept override {
    const uint32_t* source = static_cast<const uint32_t*>(args.inputs[0]);
    if (geometry_.copies()) {
      uint32_t* workspace = static_cast<uint32_t*>(args.workspace);
      const int planes = problem_.input.batch * input_planes_;
      args.pool->parallel_for(
          planes, [&](int plane, int) { split_phases(problem_, geometry_, source, workspace, plane, kernel_->every_second); });
      source = workspace;
    }
    const StripArgs strip = arguments(source + geometry_.origin, args);

    // A task is one tile of one image for some groups of output channels: few enough for all threads, and such that their weights
    // stay in the second-level cache from one tile to the next. The pool deals tasks out in ranges, one to a thread: of all
    // tiles where there are enough, so that channels are the outer loop only within a thread's tiles.
    const int image_tiles = static_cast<int>(tiles_.size()) - 1, tiles = image_tiles * problem_.output.batch;
    const int groups = (oc_blocks_ + group_blocks_ - 1) / group_blocks_;
    const int threads = args.pool->threads();
    const int parts = tiles % threads == 0 ? threads : 1, part_tiles = tiles / parts;
    const int by_threads = parts == threads ? 1 : (4 * threads + tiles - 1) / tiles;
    const int by_cache = part_tiles == 1 ? 1 : static_cast<int>(blocks_.bytes() / kSecondLevelBytes) + 1;
    const int splits = std::min(groups, std::max(by_threads, by_cache));
    args.pool->parallel_for(tiles * splits, [&](int task, int worker) {
      const int split = task / part_tiles % splits, at = task / (part_tiles * splits) * part_tiles + task % part_tiles;
      const int first = split_at(split, splits, groups), last = split_at(split + 1, splits, groups);
      if (first >= last) return;
      StripArgs own = strip;
      own.sums = reinterpret_cast<float*>(static_cast<uint8_t*>(args.workspace) + sums_at_ + worker * sums_bytes_);
      kernel_->run(own, at / image_tiles, at % image_tiles, first, last);
    });
  }

 private:
  void stage(const WeightRows& rows, const KernelOptions& options) {
    int vectors = 0;
    for (size_t t = 1; t < tiles_.size(); ++t) vectors = std::max(vectors, tiles_[t] - tiles_[t - 1]);
    row_elements_ = vectors * kernel_->lanes;
    const int fit = staged_bytes() / (row_elements_ * 4) - 1;  // and a row of zeros
    const int most = options.chunk_planes > 0 ? std::min(fit, options.chunk_planes * rows.shape().taps) : fit;
    blocks_ = pack_staged(rows, geometry_, most, row_elements_);
    chunks_ = static_cast<int>(blocks_.chunk_rows.size()) - 1;
    if (chunks_ == 1) return;
    sums_at_ = align_up(workspace_bytes_, 64);
    sums_bytes_ = align_up(static_cast<size_t>(oc_blocks_), group_blocks_) * static_cast<size_t>(row_elements_) * sizeof(int32_t);
    workspace_bytes_ = sums_at_ + sums_bytes_ * static_cast<size_t>(options.threads);
  }

  void set_slope(Span<const float> slope) {
    if (slope.empty()) return;
    slope_ = AlignedBuffer<float>(padded_channels());
    std::copy(slope.begin(), slope.end(), slope_.data());
    packed_bytes_ += slope_.bytes();
  }

  size_t padded_channels() const { return align_up(static_cast<size_t>(oc_blocks_) * kernel_->block_oc + kChannelGroup, 16); }

  // The epilogue reads a residual where, and right before, it stores the result.
  void allow_replacing_residual() {
    if (problem_.residual.channels != 0 && same_layout(problem_.residual, problem_.output)) allow_replacing(1);
  }

  bool direct() const noexcept {
    if (!geometry_.output.single || !geometry_.residual.single) return false;
    if (kernel_->form == WeightForm::f32)
      return problem_.residual.channels == 0 || is_clamp(problem_.activation.kind) || slope_.data() != nullptr;
    const Requantize& r = requantize_;
    // Channels that pad the last quad are zero times anything, plus a residual's padding: they end as the zero point.
    const bool pads = problem_.output.channels % kChannelGroup == 0 || (r.lo <= 0 && 0 <= r.hi);
    return r.bounded && pads && (!r.has_intermediate || r.has_residual);
  }

  // Tiles of nearly equal size: 13 vectors in tiles of at most 6 are 5 + 4 + 4. With as many for each thread, a thread works on
  // the same part of the map in one step after the other, and finds its input in its own cache. But not with tiles so narrow that
  // their sums are split: they would be slow, and float results would depend on the number of threads.
  void plan_tiles(int tile_vectors, int threads) {
    int count = (geometry_.vectors + tile_vectors - 1) / tile_vectors;
    const int even = (count + threads - 1) / threads * threads;
    const int channels = kernel_->method == StripMethod::staged ? 2 : kernel_->block_oc;
    if (channels * (geometry_.vectors / even) >= kSumsInFlight) count = even;
    for (int t = 0; t <= count; ++t) tiles_.push_back(static_cast<int32_t>(static_cast<int64_t>(geometry_.vectors) * t / count));
  }

  // Source planes whose part of a tile fits into the first-level cache, but so many that a block of output channels has enough
  // blocks in each chunk: it pays for a new chunk with a reload of its sums and a loop end that is predicted wrongly.
  int chunk_planes(int64_t blocks, int tile_vectors) const {
    if (problem_.groups > 1) return geometry_.planes;
    // Of each phase of the source, the taps' rows or, where these overlap, all from the first to the last.
    const int tile = std::min(geometry_.vectors, tile_vectors) * kernel_->lanes;
    const int span_h = (problem_.kernel_h - 1) * problem_.dilation_h / problem_.stride_h;
    const int span_w = (problem_.kernel_w - 1) * problem_.dilation_w / problem_.stride_w;
    const int64_t rows = std::min(problem_.kernel_h, span_h + 1) * int64_t{tile + span_w};
    const int64_t all_rows = tile + static_cast<int64_t>(span_h) * geometry_.pitch;
    const int64_t elements = std::min(rows, all_rows) * std::max<int64_t>(1, static_cast<int64_t>(geometry_.phases.size()));
    const int64_t by_cache = geometry_.planes * elements * 4 / static_cast<int64_t>(kFirstLevelBytes) + 1;
    const int64_t by_blocks = blocks / (int64_t{oc_blocks_} * min_chunk_blocks(*kernel_));
    const int64_t chunks = std::max<int64_t>(1, std::min(by_cache, by_blocks));
    return static_cast<int>((geometry_.planes + chunks - 1) / chunks);
  }

  // First group of a split, so that splits have nearly equal numbers of blocks; a block of channels counts for some, too.
  int split_at(int split, int splits, int groups) const noexcept {
    if (split == 0) return 0;
    if (split == splits) return groups;
    constexpr int64_t kChannelBlockCost = 16;
    const auto work_before = [&](int group) {
      const int block = std::min(group * group_blocks_, oc_blocks_);
      return blocks_.group_blocks[static_cast<size_t>(group)] + block * kChannelBlockCost;
    };
    const int64_t target = work_before(groups) * split / splits;
    int first = 0, last = groups;
    while (first < last) {
      const int middle = (first + last) / 2;
      if (work_before(middle) < target)
        first = middle + 1;
      else
        last = middle;
    }
    return first;
  }

  StripArgs arguments(const uint32_t* source, const KernelArgs& args) const noexcept {
    StripArgs a{};
    a.source = reinterpret_cast<const uint8_t*>(source);
    a.source_batch = geometry_.batch_stride();
    a.output = args.output;
    a.residual = problem_.residual.channels == 0 ? nullptr : args.inputs[1];
    a.starts = blocks_.starts.data();
    a.order = blocks_.order.data();
    a.offsets = blocks_.offsets.data();
    a.weights = blocks_.weights.data();
    a.rows = blocks_.rows.data();
    a.chunk_rows = blocks_.chunk_rows.data();
    a.row_elements = row_elements_;
    a.oc = problem_.output.channels;
    a.oc_blocks = oc_blocks_;
    a.chunks = chunks_;
    a.tiles = tiles_.data();
    a.output_segments = geometry_.output.segments.data();
    a.output_first = geometry_.output.first.data();
    a.output_single = geometry_.output.single;
    a.residual_segments = geometry_.residual.segments.data();
    a.residual_first = geometry_.residual.first.data();
    a.residual_single = geometry_.residual.single;
    a.vectors = geometry_.vectors;
    a.direct = direct();
    const size_t written = problem_.output.bytes(kernel_->form != WeightForm::f32);
    a.prefetch = a.direct && written > kPrefetchBytes;
    a.output_layout = problem_.output;
    a.residual_plane = problem_.residual.plane;
    a.residual_origin = problem_.residual.origin;
    a.output_planes = output_planes_;
    a.residual_planes = residual_planes_;
    a.bias = bias_f32_.data();
    a.multiplier = multiplier_.data();
    a.bias_s32 = bias_s32_.data();
    a.slope = slope_.data();
    a.activation = FloatActivation(problem_.activation);
    a.requantize = requantize_;
    return a;
  }

  Conv2dProblem problem_;
  const StripKernel* kernel_;
  StripGeometry geometry_;
  PackedBlocks blocks_;
  std::vector<int32_t> tiles_;
  int row_elements_ = 0;
  size_t sums_at_ = 0, sums_bytes_ = 0;
  int group_blocks_ = 0, chunks_ = 1, oc_blocks_ = 0, input_planes_ = 0, residual_planes_ = 0, output_planes_ = 0;
  AlignedBuffer<float> bias_f32_, multiplier_, slope_;
  AlignedBuffer<int32_t> bias_s32_;
  Requantize requantize_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_conv2d_f32(const Conv2dProblem& problem, Span<const float> weights,
                                                   Span<const float> bias, const KernelOptions& options,
                                                   Span<const float> slope) {
  check_per_channel("conv2d_f32", "biases", bias.size(), problem.output.channels);
  check_slopes("conv2d_f32", slope.size(), problem.activation, problem.output.channels);
  const WeightRows rows(weights, checked_shape("conv2d_f32", problem, weights.size()));
  const StripChoice choice = choose("conv2d_f32", problem, rows, options);
  if (options.kernel.empty() && is_winograd(problem)) {
    const double vectors = std::ceil(static_cast<double>(problem.output.height) * problem.input.pitch / choice.kernel->lanes);
    if (winograd_cost(problem, options) < choice.cost * vectors)
      return prepare_winograd_f32(problem, weights, bias, options, slope);
  }
  auto conv = std::make_unique<StripConv>(problem, weights, rows, choice, options);
  conv->set_f32(bias, channel_slopes(problem.activation, slope, problem.output.channels));
  return conv;
}

std::unique_ptr<PreparedKernel> prepare_conv2d_s8(const Conv2dProblem& problem, const Conv2dS8Params& quant,
                                                  Span<const int8_t> weights, Span<const int32_t> bias,
                                                  const KernelOptions& options, Span<const float> slope) {
  check_quantized("conv2d_s8", bias.size(), quant.weight_scales.size(), problem.output.channels);
  check_slopes("conv2d_s8", slope.size(), problem.activation, problem.output.channels);
  const WeightRows rows(weights, checked_shape("conv2d_s8", problem, weights.size()));
  auto conv = std::make_unique<StripConv>(problem, weights, rows, choose("conv2d_s8", problem, rows, options), options);
  const int channels = problem.output.channels;
  conv->set_s8(fold_scales(quant, problem.activation, channel_slopes(problem.activation, slope, channels),
                           problem.residual.channels != 0, channels, weights, bias, conv->input_bias()));
  return conv;
}

}  // namespace edgelane
