#include "kernels/pool/pool.hpp"

#include <string>
#include <vector>

#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/pool/rows.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

using Kind = PoolProblem::Kind;

// The part of a window that starts at `start` which lies inside an axis of `size`: taps first .. first + count - 1.
struct Covered {
  int first = 0, count = 0;
};

Covered covered(int start, int kernel, int dilation, int size) {
  const auto taps_before = [&](int at) { return at <= start ? 0 : std::min(kernel, (at - start + dilation - 1) / dilation); };
  return {taps_before(0), taps_before(size) - taps_before(0)};
}

// How many elements of a window count: those in the image, or those in the padded image too.
int counted(int start, int kernel, int size, int pad_after, bool include_pad) {
  return include_pad ? std::min(start + kernel, size + pad_after) - start : covered(start, kernel, 1, size).count;
}

class WindowPool {
 public:
  WindowPool(const PoolProblem& p, const PoolRows& rows) : p_(p), rows_(rows) {
    const auto count = [&](int start, int kernel, int size, int pad_after) {
      return static_cast<float>(counted(start, kernel, size, pad_after, p.count_include_pad));
    };
    for (int y = 0; y < p.output.dims[2]; ++y) {
      const int top = y * p.stride_h - p.pad_top;
      covered_.push_back(covered(top, p.kernel_h, p.kind == Kind::max ? p.dilation_h : 1, p.input.dims[2]));
      if (p.kind != Kind::max) rows_counted_.push_back(count(top, p.kernel_h, p.input.dims[2], p.pad_bottom));
    }
    if (p.kind == Kind::max) return;
    for (int x = 0; x < p.output.dims[3]; ++x) {
      columns_counted_.push_back(count(x * p.stride_w - p.pad_left, p.kernel_w, p.input.dims[3], p.pad_right));
    }
  }

  size_t table_bytes() const {
    return covered_.size() * sizeof(Covered) + (rows_counted_.size() + columns_counted_.size()) * sizeof(float);
  }

  void operator()(const KernelArgs& args) const noexcept {
    const PlanarLayout &in = p_.input.layout, &out = p_.output.layout;
    const bool int8 = p_.input.int8();
    const int groups = out.groups(int8);
    const int64_t work = out.strip_length() + in.strip_length();
    parallel_ranges(*args.pool, static_cast<int64_t>(out.batch) * groups, work, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const uint32_t* x = static_cast<const uint32_t*>(args.inputs[0]) + i * in.plane;
        uint32_t* y = static_cast<uint32_t*>(args.output) + i * out.plane;
        for (int row = 0; row < out.height; ++row) write_row(x, row, y + out.index(row, 0));
        if (int8 && i % groups == groups - 1) fill_channel_padding(y, out, border_word(p_.output));
        fill_border(y, out, border_word(p_.output));
      }
    });
  }

 private:
  void write_row(const uint32_t* plane, int y, uint32_t* to) const {
    const PlanarLayout& in = p_.input.layout;
    const Covered rows = covered_[y];
    const int step = p_.kind == Kind::max ? p_.dilation_h : 1;
    const int first = rows.count == 0 ? 0 : y * p_.stride_h - p_.pad_top + rows.first * step;
    const PoolRow row = {plane + in.index(first, 0),
                         static_cast<int64_t>(step) * in.pitch,
                         rows.count,
                         in.width,
                         p_.output.layout.width,
                         p_.kernel_w,
                         p_.stride_w,
                         p_.kind == Kind::max ? p_.dilation_w : 1,
                         p_.pad_left};
    if (p_.kind == Kind::max) {
      p_.input.int8() ? rows_.max_s8(row, to) : rows_.max_f32(row, reinterpret_cast<float*>(to));
      return;
    }
    const PoolCounts counts = {columns_counted_.data(), rows_counted_[y]};
    if (p_.input.int8()) {
      const QuantParams a = p_.input.quant, b = p_.output.quant;
      rows_.average_s8(row, counts, a.scale, a.zero_point, b.scale, b.zero_point, reinterpret_cast<uint8_t*>(to));
    } else {
      rows_.average_f32(row, counts, reinterpret_cast<float*>(to));
    }
  }

  PoolProblem p_;
  const PoolRows& rows_;
  std::vector<Covered> covered_;                       // by output row
  std::vector<float> rows_counted_, columns_counted_;  // by output row and column; averages only
};

// Gaps hold 0 or the zero point, so that the sum of a map is the sum of its strip.
void run_global(const PoolProblem& p, const PoolRows& rows, const KernelArgs& args) noexcept {
  const PlanarLayout &in = p.input.layout, &out = p.output.layout;
  const bool int8 = p.input.int8();
  const int groups = out.groups(int8);
  const float count = static_cast<float>(static_cast<int64_t>(in.height) * in.width);
  parallel_ranges(*args.pool, static_cast<int64_t>(out.batch) * groups, in.strip_length(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t* x = static_cast<const uint32_t*>(args.inputs[0]) + i * in.plane + in.origin;
      uint32_t* plane = static_cast<uint32_t*>(args.output) + i * out.plane;
      fill_border(plane, out, border_word(p.output));
      if (!int8) {
        reinterpret_cast<float*>(plane)[out.origin] = rows.sum_f32(reinterpret_cast<const float*>(x), in.strip_length()) / count;
        continue;
      }
      int64_t sums[4];
      rows.sum_s8(reinterpret_cast<const uint8_t*>(x), in.strip_length(), sums);
      const int64_t bias = in.strip_length() * (p.input.quant.zero_point + kActivationBias);
      uint8_t* y = reinterpret_cast<uint8_t*>(plane + out.origin);
      for (int k = 0; k < kChannelGroup; ++k) {
        const float real = p.input.quant.scale * static_cast<float>(sums[k] - bias) / count;
        y[k] = static_cast<uint8_t>(quantize(real, p.output.quant) + kActivationBias);
      }
      if (i % groups == groups - 1) fill_channel_padding(plane, out, border_word(p.output));
    }
  });
}

void check_pool(const PoolProblem& p, const char* step) {
  check(p.input.planar() && p.output.planar() && p.input.dtype == p.output.dtype, step,
        "expected float32 or int8 maps, found " + shape_text(p.input) + " and " + shape_text(p.output));
  check(p.input.dims[0] == p.output.dims[0] && p.input.dims[1] == p.output.dims[1], step,
        "batch or channels differ: " + shape_text(p.input) + " and " + shape_text(p.output));
  if (p.kind == Kind::global_average) {
    check(p.output.dims[2] == 1 && p.output.dims[3] == 1, step, "the output must be 1 x 1, found " + shape_text(p.output));
    return;
  }
  check(p.kernel_h >= 1 && p.kernel_w >= 1 && p.stride_h >= 1 && p.stride_w >= 1 && p.dilation_h >= 1 && p.dilation_w >= 1, step,
        "kernel, strides and dilations must be at least 1");
  check(p.pad_top >= 0 && p.pad_left >= 0 && p.pad_bottom >= 0 && p.pad_right >= 0, step, "pads must not be negative");
  const int64_t reach = static_cast<int64_t>(p.kernel_w - 1) * (p.kind == Kind::max ? p.dilation_w : 1) + 1;
  check(reach <= kPoolLine && p.stride_w <= kPoolLine, step,
        "windows wider than " + std::to_string(kPoolLine) + " pixels are not supported, found " + std::to_string(reach));
  const int64_t summed = std::min<int64_t>(p.kernel_h, p.input.dims[2]) * std::min(p.kernel_w, p.input.dims[3]);
  check(
      p.kind != Kind::average || !p.input.int8() || summed <= kPoolMaxSummed, step,
      "int8 sums of more than " + std::to_string(kPoolMaxSummed) + " pixels are not supported, found " + std::to_string(summed));
  check(p.kind != Kind::max || !p.input.int8() || same_quant(p.input, p.output), step,
        "int8 maximum needs one scale on both sides");
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_pool(const PoolProblem& problem, const KernelOptions& options) {
  const std::string name = problem.kind == Kind::max       ? "max_pool"
                           : problem.kind == Kind::average ? "average_pool"
                                                           : "global_average_pool";
  check_pool(problem, name.c_str());
  const KernelEntry& entry = select_kernel("pool", name + (problem.input.int8() ? "_s8" : "_f32"), options);
  const PoolRows* rows = EDGELANE_FOR_ISA(entry.isa, pool_rows);
  if (problem.kind == Kind::global_average) {
    return make_kernel(entry, 0, [problem, rows](const KernelArgs& args) { run_global(problem, *rows, args); });
  }
  WindowPool pool(problem, *rows);
  const size_t table_bytes = pool.table_bytes();
  return make_kernel(entry, 0, std::move(pool), table_bytes);
}

}  // namespace edgelane
