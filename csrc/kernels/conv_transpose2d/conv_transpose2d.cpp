// Transposed convolution as a convolution and an interleaving. Output rows oy = py (mod stride) form a phase: for row j of a
// phase, tap ky reads input row j + shift(ky), and the same holds for columns. So each phase of an output channel is a channel
// of a convolution of stride 1 over the input, whose window has a weight where the phase has a tap and else a zero, which costs
// that convolution nothing; the channels of all phases are then interleaved into rows.
#include "kernels/conv_transpose2d/conv_transpose2d.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "formats/block_sparse.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/conv2d/conv2d.hpp"
#include "kernels/conv_transpose2d/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

constexpr const char* kStep = "conv_transpose2d";

// Rows or columns: which phases have taps, and where those read.
struct Axis {
  struct Tap {
    int k, shift;
  };
  struct Phase {
    int number;  // output pixels number, number + stride, ...
    std::vector<Tap> taps;
  };
  std::vector<Phase> phases;    // those with taps, ascending
  std::vector<int> index_of;    // by number: the index in phases, or -1
  int lowest = 0, highest = 0;  // shifts
  int pixels = 0;               // of a phase

  Axis(int input, int output, int kernel, int stride, int dilation, int pad) : pixels((output + stride - 1) / stride) {
    for (int number = 0; number < std::min(stride, output); ++number) {
      Phase phase{number, {}};
      for (int k = 0; k < kernel; ++k) {
        const int at = number + pad - k * dilation;
        if (at % stride != 0) continue;
        const int shift = at / stride;
        if (shift >= input || shift + pixels <= 0) continue;  // reads nothing of the input
        phase.taps.push_back({k, shift});
        lowest = std::min(lowest, shift);
        highest = std::max(highest, shift);
      }
      index_of.push_back(phase.taps.empty() ? -1 : static_cast<int>(phases.size()));
      if (!phase.taps.empty()) phases.push_back(std::move(phase));
    }
  }
  int window() const { return highest - lowest + 1; }
  bool some_without_taps() const { return phases.size() != index_of.size(); }
};

class ConvTranspose final : public PreparedKernel {
 public:
  ConvTranspose(const ConvTranspose2dProblem& p, Span<const float> weights, Span<const float> bias, Span<const float> slope,
                const KernelEntry& entry, const KernelOptions& options)
      : p_(p),
        rows_(p.input.height, p.output.height, p.kernel_h, p.stride_h, p.dilation_h, p.pad_top),
        columns_(p.input.width, p.output.width, p.kernel_w, p.stride_w, p.dilation_w, p.pad_left),
        interleave_(EDGELANE_FOR_ISA(entry.isa, interleave_rows)) {
    // Pixels whose phase has no tap are the bias alone: one more phase, of zeros.
    const int with_taps = static_cast<int>(rows_.phases.size() * columns_.phases.size());
    phases_ = with_taps + (with_taps == 0 || rows_.some_without_taps() || columns_.some_without_taps() ? 1 : 0);
    check_window_weights();
    plan_conv();
    KernelOptions conv_options = options;
    conv_options.isa = entry.isa;
    conv_options.kernel.clear();
    kernel_ = prepare_conv2d_f32(conv_, phase_weights(weights), for_phases(bias), conv_options, for_phases(slope));

    info_ = kernel_->info();
    info_.kernel = entry.name;
    info_.isa = entry.isa;
    info_.density = density(weights);
    info_.dense_macs = static_cast<int64_t>(weights.size()) * p.input.batch * p.input.height * p.input.width;
    packed_bytes_ = kernel_->packed_bytes();
    workspace_bytes_ = input_bytes() + output_bytes() + kernel_->workspace_bytes();
  }

  void run(const KernelArgs& args) const noexcept override {
    auto* workspace = static_cast<uint8_t*>(args.workspace);
    const void* input = args.inputs[0];
    if (copies_) {
      copy_input(*args.pool, static_cast<const float*>(input), reinterpret_cast<float*>(workspace));
      input = workspace;
    }
    auto* maps = reinterpret_cast<float*>(workspace + input_bytes());
    const void* inputs[] = {input, nullptr};
    KernelArgs conv;
    conv.inputs = inputs;
    conv.output = maps;
    conv.workspace = workspace + input_bytes() + output_bytes();
    conv.pool = args.pool;
    kernel_->run(conv);
    interleave(*args.pool, maps, static_cast<float*>(args.output));
  }

 private:
  int group_channels() const { return p_.output.channels / p_.groups; }
  size_t input_bytes() const { return copies_ ? align_up(conv_.input.bytes(false)) : 0; }
  size_t output_bytes() const { return align_up(conv_.output.bytes(false)); }

  // The channel of the convolution that holds phase `phase` of output channel `oc`.
  int channel_of(int phase, int oc) const {
    const int group = oc / group_channels();
    return (group * phases_ + phase) * group_channels() + oc % group_channels();
  }

  // With large dilations a window is far larger than its taps.
  void check_window_weights() const {
    const double bytes = double{sizeof(float)} * phases_ * p_.output.channels * (p_.input.channels / p_.groups) * rows_.window() *
                         columns_.window();
    check_tables(kStep, static_cast<int64_t>(std::min(bytes, 1e18)));
  }

  void plan_conv() {
    const PlanarLayout &in = p_.input, &out = p_.output;
    conv_.kernel_h = rows_.window();
    conv_.kernel_w = columns_.window();
    conv_.pad_top = -rows_.lowest;
    conv_.pad_left = -columns_.lowest;
    conv_.groups = p_.groups;
    conv_.activation = p_.activation;
    const Border needed = {conv_.pad_top, conv_.pad_left, std::max(0, rows_.highest + rows_.pixels - in.height),
                           std::max(0, columns_.highest + columns_.pixels - in.width)};
    const Border& has = in.border;
    copies_ = needed.top > has.top || needed.left > has.left || needed.bottom > has.bottom || needed.right > has.right;
    conv_.input = copies_ ? PlanarLayout(in.batch, in.channels, in.height, in.width, needed) : in;
    conv_.output = PlanarLayout(out.batch, out.channels * phases_, rows_.pixels, columns_.pixels,
                                {0, 0, 0, conv_.input.pitch - in.width});  // where it fits, the input's pitch: whole vectors
  }

  // From [ic][oc / groups][ky][kx] to [channel][ic / groups][window].
  std::vector<float> phase_weights(Span<const float> weights) const {
    const int ic = p_.input.channels / p_.groups, oc = group_channels(), window = conv_.kernel_h * conv_.kernel_w;
    std::vector<float> result(static_cast<size_t>(conv_.output.channels) * ic * window);
    for_each_phase([&](int index, const Axis::Phase& row, const Axis::Phase& column) {
      for (int c = 0; c < p_.input.channels; ++c)
        for (int o = 0; o < oc; ++o) {
          const float* from = weights.data() + (static_cast<int64_t>(c) * oc + o) * p_.kernel_h * p_.kernel_w;
          float* to = result.data() + (static_cast<int64_t>(channel_of(index, c / ic * oc + o)) * ic + c % ic) * window;
          for (const Axis::Tap& y : row.taps)
            for (const Axis::Tap& x : column.taps)
              to[(y.shift - rows_.lowest) * conv_.kernel_w + x.shift - columns_.lowest] = from[y.k * p_.kernel_w + x.k];
        }
    });
    return result;
  }

  // Values of the output channels, or none, for those of the convolution.
  std::vector<float> for_phases(Span<const float> values) const {
    std::vector<float> result(values.empty() ? 0 : static_cast<size_t>(conv_.output.channels));
    for (int oc = 0; !values.empty() && oc < p_.output.channels; ++oc)
      for (int phase = 0; phase < phases_; ++phase)
        result[static_cast<size_t>(channel_of(phase, oc))] = values[static_cast<size_t>(oc)];
    return result;
  }

  // Calls f(index, row phase, column phase) for the phases with taps.
  template <class F>
  void for_each_phase(const F& f) const {
    int index = 0;
    for (const Axis::Phase& row : rows_.phases)
      for (const Axis::Phase& column : columns_.phases) f(index++, row, column);
  }

  void copy_input(ThreadPool& pool, const float* x, float* padded) const noexcept {
    const PlanarLayout &from = p_.input, &to = conv_.input;
    parallel_ranges(pool, static_cast<int64_t>(from.batch) * from.channels, to.plane, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int y = 0; y < from.height; ++y)
          std::memcpy(padded + i * to.plane + to.index(y, 0), x + i * from.plane + from.index(y, 0),
                      static_cast<size_t>(from.width) * sizeof(float));
        fill_border(padded + i * to.plane, to, 0);
      }
    });
  }

  void interleave(ThreadPool& pool, const float* maps, float* y) const noexcept {
    const PlanarLayout& out = p_.output;
    parallel_rows(pool, static_cast<int64_t>(out.batch) * out.channels, out.height, out.plane, [&](int64_t plane, RowRange rows) {
      const auto image = plane / out.channels;
      const int oc = static_cast<int>(plane % out.channels);
      for (int row = rows.first; row < rows.last; ++row)
        interleave_row(maps + image * conv_.output.channels * conv_.output.plane, oc, row,
                       y + plane * out.plane + out.index(row, 0));
      fill_border(y + plane * out.plane, out, 0, rows);
    });
  }

  void interleave_row(const float* maps, int oc, int row, float* y) const noexcept {
    const int stride = p_.stride_w, width = p_.output.width, row_phase = rows_.index_of[static_cast<size_t>(row % p_.stride_h)];
    const int columns = static_cast<int>(columns_.phases.size());
    const auto map_row = [&](int number) {
      const int column_phase = columns_.index_of[static_cast<size_t>(number)];
      const int phase = row_phase < 0 || column_phase < 0 ? phases_ - 1 : row_phase * columns + column_phase;
      return maps + channel_of(phase, oc) * conv_.output.plane + conv_.output.index(row / p_.stride_h, 0);
    };
    if (stride == 1) {
      std::memcpy(y, map_row(0), static_cast<size_t>(width) * sizeof(float));
    } else if (stride == 2 && width > 1) {
      interleave_(map_row(0), map_row(1), y, width);
    } else {
      for (int number = 0; number < std::min(stride, width); ++number) {
        const float* from = map_row(number);
        for (int x = number; x < width; x += stride) y[x] = *from++;
      }
    }
  }

  ConvTranspose2dProblem p_;
  Axis rows_, columns_;
  InterleaveRows interleave_;
  int phases_ = 0;
  Conv2dProblem conv_;
  bool copies_ = false;  // the input's border is too small
  std::unique_ptr<PreparedKernel> kernel_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_conv_transpose2d_f32(const ConvTranspose2dProblem& problem, Span<const float> weights,
                                                             Span<const float> bias, const KernelOptions& options,
                                                             Span<const float> slope) {
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
  check_per_channel(kStep, "biases", bias.size(), out.channels);
  check_slopes(kStep, slope.size(), problem.activation, out.channels);
  check(in.batch == out.batch, kStep, "batches differ");
  // Taps that are looked at to find the phases.
  check_tables(kStep, std::max(int64_t{std::min(problem.stride_h, out.height)} * problem.kernel_h,
                               int64_t{std::min(problem.stride_w, out.width)} * problem.kernel_w));
  const KernelEntry& entry = select_kernel("conv_transpose2d", "conv_transpose2d_f32", options);
  return std::make_unique<ConvTranspose>(problem, weights, bias, slope, entry, options);
}

}  // namespace edgelane
