// Transposed convolution as a gather. Output columns ox = px (mod stride) form a phase: for pixel j of a phase, tap kx reads
// input column j + shift(kx), so that every phase of every output row is a small convolution of stride 1. The same holds for
// rows. The input is copied once into the workspace with zeros beside its rows, so that shifts need no bounds.
#include "kernels/conv_transpose2d/conv_transpose2d.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/conv_transpose2d/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

class ConvTranspose {
 public:
  ConvTranspose(const ConvTranspose2dProblem& p, Span<const float> weights, Span<const float> bias, const TransposeRows& rows)
      : p_(p), rows_(rows) {
    ic_ = p.input.channels / p.groups;
    oc_ = p.output.channels / p.groups;
    blocks_ = (oc_ + kTransposeOc - 1) / kTransposeOc;
    plan_columns();
    pack(weights, bias);
  }

  // Weights, and the taps of every output row.
  size_t packed_bytes() const {
    return (weights_.size() + bias_.size()) * sizeof(float) + taps_.size() * sizeof(TransposeTap) +
           first_tap_.size() * sizeof(int64_t);
  }
  // At most what the tables of taps take, and how many taps are looked at to make them.
  static int64_t table_bytes(const ConvTranspose2dProblem& p) {
    const int64_t phases = std::min(p.stride_w, p.output.width);
    const int period = p.stride_h / std::gcd(p.stride_h, p.dilation_h);  // an output row meets every period-th row of taps
    const int64_t row_taps = int64_t{(p.kernel_h + period - 1) / period} * p.kernel_w;
    const int64_t row_bytes =
        row_taps * static_cast<int64_t>(sizeof(TransposeTap)) + phases * static_cast<int64_t>(sizeof(int64_t));
    return std::max(p.output.height * std::max<int64_t>(p.kernel_h, row_bytes), phases * p.kernel_w);
  }
  int64_t macs() const {
    int64_t taps = 0;
    for (int y = 0; y < p_.output.height; ++y) {
      for (int ky = 0; ky < p_.kernel_h; ++ky) taps += input_row(y, ky) >= 0;
    }
    int64_t columns = 0;
    for (const Phase& phase : phases_) columns += static_cast<int64_t>(phase.pixels) * static_cast<int64_t>(phase.taps.size());
    return taps * columns * ic_ * blocks_ * kTransposeOc * p_.groups * p_.output.batch;
  }

  // The padded input of the whole batch, then one set of phase rows for each task: an output row of one block of channels.
  size_t workspace_bytes() const {
    return (input_floats() + static_cast<size_t>(tasks()) * kTransposeOc * row_floats_) * sizeof(float);
  }

  void operator()(const KernelArgs& args) const noexcept {
    float* padded = static_cast<float*>(args.workspace);
    copy_input(*args.pool, static_cast<const float*>(args.inputs[0]), padded);
    float* scratch = padded + input_floats();
    const int64_t work = static_cast<int64_t>(ic_) * p_.kernel_h * p_.kernel_w * p_.output.width * p_.output.height;
    parallel_ranges(*args.pool, tasks(), work, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        run_task(static_cast<int>(task), padded, scratch + task * kTransposeOc * row_floats_, static_cast<float*>(args.output));
      }
    });
  }

 private:
  struct Column {
    int kx, shift;
  };
  struct Phase {
    int first, pixels;  // output columns first, first + stride, ...
    std::vector<Column> taps;
  };

  int tasks() const { return p_.output.batch * p_.groups * blocks_; }
  size_t input_floats() const {
    const size_t n = static_cast<size_t>(p_.input.batch) * p_.input.channels * plane_ + kTransposeSlack;
    return align_up(n, kAlignment / sizeof(float));
  }

  // The input row that tap ky of output row y reads, or -1.
  int input_row(int y, int ky) const {
    const int at = y + p_.pad_top - ky * p_.dilation_h;
    return at >= 0 && at % p_.stride_h == 0 && at / p_.stride_h < p_.input.height ? at / p_.stride_h : -1;
  }

  void plan_columns() {
    int lowest = 0, highest = p_.input.width - 1;
    for (int px = 0; px < std::min(p_.stride_w, p_.output.width); ++px) {
      Phase phase{px, (p_.output.width - px + p_.stride_w - 1) / p_.stride_w, {}};
      for (int kx = 0; kx < p_.kernel_w; ++kx) {
        const int at = px + p_.pad_left - kx * p_.dilation_w;
        if (at % p_.stride_w != 0) continue;
        const int shift = at / p_.stride_w;
        if (shift >= p_.input.width || shift + phase.pixels <= 0) continue;  // only zeros
        phase.taps.push_back({kx, shift});
        lowest = std::min(lowest, shift);
        highest = std::max(highest, shift + phase.pixels - 1);
      }
      phases_.push_back(std::move(phase));
    }
    left_ = -lowest;
    pitch_ = left_ + highest + 1;
    plane_ = static_cast<int64_t>(pitch_) * p_.input.height;
    row_floats_ = align_up(static_cast<size_t>(phases_[0].pixels), kAlignment / sizeof(float));
  }

  // [group][block of output channels][ky][kx][ic][kTransposeOc]
  void pack(Span<const float> weights, Span<const float> bias) {
    const int taps = p_.kernel_h * p_.kernel_w;
    weights_.assign(static_cast<size_t>(p_.groups) * blocks_ * taps * ic_ * kTransposeOc, 0.0f);
    bias_.assign(static_cast<size_t>(p_.groups) * blocks_ * kTransposeOc, 0.0f);
    for (int g = 0; g < p_.groups; ++g) {
      for (int oc = 0; oc < oc_; ++oc) {
        const int64_t block = static_cast<int64_t>(g) * blocks_ + oc / kTransposeOc;
        const int lane = oc % kTransposeOc;
        if (!bias.empty()) bias_[block * kTransposeOc + lane] = bias[static_cast<size_t>(g) * oc_ + oc];
        for (int t = 0; t < taps; ++t) {
          for (int ic = 0; ic < ic_; ++ic) {
            const int64_t from = ((static_cast<int64_t>(g) * ic_ + ic) * oc_ + oc) * taps + t;
            weights_[((block * taps + t) * ic_ + ic) * kTransposeOc + lane] = weights[from];
          }
        }
      }
    }
    // The taps of every output row and phase, ready for the inner loop.
    for (int y = 0; y < p_.output.height; ++y) {
      for (const Phase& phase : phases_) {
        first_tap_.push_back(static_cast<int64_t>(taps_.size()));
        for (int ky = 0; ky < p_.kernel_h; ++ky) {
          const int row = input_row(y, ky);
          if (row < 0) continue;
          for (const Column& c : phase.taps) {
            taps_.push_back({static_cast<int64_t>(row) * pitch_ + left_ + c.shift,
                             static_cast<int64_t>(ky * p_.kernel_w + c.kx) * ic_ * kTransposeOc});
          }
        }
      }
    }
    first_tap_.push_back(static_cast<int64_t>(taps_.size()));
  }

  void copy_input(ThreadPool& pool, const float* x, float* padded) const noexcept {
    const PlanarLayout& in = p_.input;
    parallel_ranges(pool, static_cast<int64_t>(in.batch) * in.channels, plane_, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* to = padded + i * plane_;
        for (int y = 0; y < in.height; ++y, to += pitch_) {
          std::fill(to, to + left_, 0.0f);
          std::memcpy(to + left_, x + i * in.plane + in.index(y, 0), static_cast<size_t>(in.width) * sizeof(float));
          std::fill(to + left_ + in.width, to + pitch_, 0.0f);
        }
      }
    });
    // Read by the last tile and not used; defined, so that no checker complains.
    std::fill(padded + static_cast<int64_t>(in.batch) * in.channels * plane_, padded + input_floats(), 0.0f);
  }

  // One block of output channels of one image.
  void run_task(int task, const float* padded, float* lines, float* y) const {
    const PlanarLayout& out = p_.output;
    const int block = task % blocks_, group = task / blocks_ % p_.groups, n = task / blocks_ / p_.groups;
    const int taps = p_.kernel_h * p_.kernel_w, phases = static_cast<int>(phases_.size());
    const int64_t packed = static_cast<int64_t>(group) * blocks_ + block;
    const float* x = padded + (static_cast<int64_t>(n) * p_.input.channels + static_cast<int64_t>(group) * ic_) * plane_;
    const float* weights = weights_.data() + packed * taps * ic_ * kTransposeOc;
    const int channels = std::min(kTransposeOc, oc_ - block * kTransposeOc);
    float* plane =
        y + (static_cast<int64_t>(n) * out.channels + static_cast<int64_t>(group) * oc_ + block * kTransposeOc) * out.plane;
    for (int row = 0; row < out.height; ++row) {
      for (int k = 0; k < phases; ++k) {
        const Phase& phase = phases_[k];
        const int64_t first = first_tap_[static_cast<size_t>(row) * phases + k],
                      last = first_tap_[static_cast<size_t>(row) * phases + k + 1];
        rows_.accumulate(x, plane_, ic_, weights, taps_.data() + first, static_cast<int>(last - first),
                         bias_.data() + packed * kTransposeOc, lines, static_cast<int64_t>(row_floats_), phase.pixels);
        for (int o = 0; o < channels; ++o) {
          const float* line = lines + static_cast<size_t>(o) * row_floats_;
          float* to = plane + o * out.plane + out.index(row, phase.first);
          for (int j = 0; j < phase.pixels; ++j) to[static_cast<int64_t>(j) * p_.stride_w] = line[j];
        }
      }
      if (p_.activation.kind == ActivationKind::none) continue;
      for (int o = 0; o < channels; ++o) rows_.activate(plane + o * out.plane + out.index(row, 0), out.width, p_.activation);
    }
    for (int o = 0; o < channels; ++o) fill_border(plane + o * out.plane, out, 0);
  }

  ConvTranspose2dProblem p_;
  const TransposeRows& rows_;
  int ic_ = 0, oc_ = 0, blocks_ = 0;  // of one group
  std::vector<Phase> phases_;
  int left_ = 0, pitch_ = 0;  // of the padded input, whose plane has no rows above or below
  int64_t plane_ = 0;
  size_t row_floats_ = 0;  // of a line of the workspace
  std::vector<float> weights_, bias_;
  std::vector<TransposeTap> taps_;
  std::vector<int64_t> first_tap_;  // [output row][phase], and the end
};

class ConvTransposeKernel final : public PreparedKernel {
 public:
  ConvTransposeKernel(const KernelEntry& entry, ConvTranspose body, double density, int64_t dense_macs) : body_(std::move(body)) {
    info_.kernel = entry.name;
    info_.format = "dense";
    info_.isa = entry.isa;
    info_.density = density;
    info_.macs = body_.macs();
    info_.dense_macs = dense_macs;
    workspace_bytes_ = body_.workspace_bytes();
    packed_bytes_ = body_.packed_bytes();
  }
  void run(const KernelArgs& args) const noexcept override { body_(args); }

 private:
  ConvTranspose body_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_conv_transpose2d_f32(const ConvTranspose2dProblem& problem, Span<const float> weights,
                                                             Span<const float> bias, const KernelOptions& options) {
  constexpr const char* kStep = "conv_transpose2d";
  const PlanarLayout &in = problem.input, &out = problem.output;
  check(problem.groups >= 1 && in.channels % problem.groups == 0 && out.channels % problem.groups == 0, kStep,
        std::to_string(problem.groups) + " groups do not divide " + std::to_string(in.channels) + " and " +
            std::to_string(out.channels) + " channels");
  check(problem.kernel_h >= 1 && problem.kernel_w >= 1 && problem.stride_h >= 1 && problem.stride_w >= 1 &&
            problem.dilation_h >= 1 && problem.dilation_w >= 1 && problem.pad_top >= 0 && problem.pad_left >= 0,
        kStep, "kernel, strides and dilations must be at least 1, pads at least 0");
  const size_t expected =
      static_cast<size_t>(in.channels) * (out.channels / problem.groups) * problem.kernel_h * problem.kernel_w;
  check(weights.size() == expected, kStep,
        "expected " + std::to_string(expected) + " weights, found " + std::to_string(weights.size()));
  check(bias.empty() || bias.size() == static_cast<size_t>(out.channels), kStep,
        "expected " + std::to_string(out.channels) + " biases, found " + std::to_string(bias.size()));
  check(in.batch == out.batch, kStep, "batches differ");
  check_tables(kStep, ConvTranspose::table_bytes(problem));
  const KernelEntry& entry = select_kernel("conv_transpose2d", "conv_transpose2d_f32", options);
  const int64_t nonzero = static_cast<int64_t>(weights.size()) - std::count(weights.begin(), weights.end(), 0.0f);
  const int64_t dense_macs = static_cast<int64_t>(expected) * in.batch * in.height * in.width;
  return std::make_unique<ConvTransposeKernel>(
      entry, ConvTranspose(problem, weights, bias, *EDGELANE_FOR_ISA(entry.isa, transpose_rows)),
      weights.empty() ? 1.0 : static_cast<double>(nonzero) / static_cast<double>(weights.size()), dense_macs);
}

}  // namespace edgelane
