#include "kernels/conv2d/geometry.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "core/status.hpp"
#include "kernels/check.hpp"

namespace edgelane {
namespace {

int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(StatusCode::invalid_argument, "conv2d: " + message);
}

std::string shape(const PlanarLayout& l) {
  return "[" + std::to_string(l.batch) + ", " + std::to_string(l.channels) + ", " + std::to_string(l.height) + ", " +
         std::to_string(l.width) + "]";
}

SegmentTable segments_of(const PlanarLayout& to, int source_pitch, int vectors, int lanes) {
  SegmentTable table;
  table.single = to.pitch == source_pitch;
  for (int v = 0; v < vectors; ++v) {
    table.first.push_back(static_cast<int32_t>(table.segments.size()));
    const int64_t begin = static_cast<int64_t>(v) * lanes;
    if (table.single) table.segments.push_back({static_cast<int32_t>(to.origin + begin), 0});
    for (int lane = 0; lane < lanes; ++lane) {
      const int64_t y = (begin + lane) / source_pitch, x = (begin + lane) % source_pitch;
      if (y >= to.height || x >= to.width) continue;
      const int32_t offset = static_cast<int32_t>(to.index(static_cast<int>(y), static_cast<int>(x)) - lane);
      const bool continues =
          static_cast<int32_t>(table.segments.size()) > table.first.back() && table.segments.back().offset == offset;
      if (!continues) table.segments.push_back({offset, 0});
      table.segments.back().mask |= 1u << lane;
    }
  }
  table.first.push_back(static_cast<int32_t>(table.segments.size()));
  return table;
}

// Stride 1 in place, if reading whole vectors stays within the last plane and every output pixel has a position of its own: where
// both sides are padded by more than the window takes, an output row is longer than the input's pitch, which shares the padding
// between two rows.
bool plan_in_place(const Conv2dProblem& p, int lanes, StripGeometry& g) {
  if (p.stride_h != 1 || p.stride_w != 1 || p.output.width > p.input.pitch) return false;
  g.pitch = p.input.pitch;
  g.origin = p.input.origin;
  g.plane = p.input.plane;
  g.positions = static_cast<int64_t>(p.output.height - 1) * g.pitch + p.output.width;
  g.vectors = static_cast<int>((g.positions + lanes - 1) / lanes);
  int64_t last_tap = 0;
  for (int ky = 0; ky < p.kernel_h; ++ky)
    for (int kx = 0; kx < p.kernel_w; ++kx) {
      const int64_t tap = static_cast<int64_t>(ky * p.dilation_h - p.pad_top) * g.pitch + (kx * p.dilation_w - p.pad_left);
      g.tap_offsets.push_back(static_cast<int32_t>(tap));
      last_tap = std::max(last_tap, tap);
    }
  if (g.origin + static_cast<int64_t>(g.vectors) * lanes + last_tap <= g.plane) return true;
  g.tap_offsets.clear();
  return false;
}

// The taps along one axis in coordinates of the stride: tap k of an output pixel at 0 is position tap[k] of phase phase[k].
struct AxisTaps {
  std::vector<int> phase, tap;
  std::vector<int> phases, first, last;  // by phase, in the order of the taps: its number, and what all output pixels read of it
  int lowest = 0, highest = 0;           // of tap

  AxisTaps(int kernel, int dilation, int pad, int stride, int output) {
    std::vector<int> index(static_cast<size_t>(stride), -1);
    lowest = highest = floor_div(-pad, stride);
    for (int k = 0; k < kernel; ++k) {
      const int at = k * dilation - pad, position = floor_div(at, stride), number = at - position * stride;
      int& own = index[static_cast<size_t>(number)];
      if (own < 0) {
        own = static_cast<int>(phases.size());
        phases.push_back(number);
        first.push_back(position);
        last.push_back(0);
      }
      last[static_cast<size_t>(own)] = position + output - 1;  // taps ascend
      highest = position;
      phase.push_back(own);
      tap.push_back(position);
    }
  }
};

void plan_phases(const Conv2dProblem& p, int lanes, StripGeometry& g) {
  const AxisTaps rows(p.kernel_h, p.dilation_h, p.pad_top, p.stride_h, p.output.height);
  const AxisTaps columns(p.kernel_w, p.dilation_w, p.pad_left, p.stride_w, p.output.width);
  for (size_t r = 0; r < rows.phases.size(); ++r)
    for (size_t c = 0; c < columns.phases.size(); ++c)
      g.phases.push_back({rows.phases[r], columns.phases[c], rows.first[r], rows.last[r], columns.first[c], columns.last[c]});

  // With the output's pitch, if that is long enough, results are stored as whole vectors.
  g.pitch = std::max(p.output.width + (columns.highest - columns.lowest), p.output.pitch);
  g.origin = -(static_cast<int64_t>(rows.lowest) * g.pitch + columns.lowest);
  g.positions = static_cast<int64_t>(p.output.height - 1) * g.pitch + p.output.width;
  g.vectors = static_cast<int>((g.positions + lanes - 1) / lanes);
  const int64_t read = static_cast<int64_t>(g.vectors) * lanes + static_cast<int64_t>(rows.highest - rows.lowest) * g.pitch +
                       (columns.highest - columns.lowest);
  g.phase_plane = ((read + kPlaneAlign - 1) / kPlaneAlign | 1) * kPlaneAlign;
  g.plane = g.phase_plane * static_cast<int64_t>(g.phases.size());
  for (int ky = 0; ky < p.kernel_h; ++ky)
    for (int kx = 0; kx < p.kernel_w; ++kx) {
      const auto y = static_cast<size_t>(ky), x = static_cast<size_t>(kx);
      const int64_t phase = static_cast<int64_t>(rows.phase[y]) * static_cast<int64_t>(columns.phases.size()) + columns.phase[x];
      const int64_t offset = phase * g.phase_plane + static_cast<int64_t>(rows.tap[y]) * g.pitch + columns.tap[x];
      g.tap_offsets.push_back(static_cast<int32_t>(offset));
    }
}

}  // namespace

void check_conv2d(const Conv2dProblem& p) {
  require(p.kernel_h > 0 && p.kernel_w > 0 && p.stride_h > 0 && p.stride_w > 0 && p.dilation_h > 0 && p.dilation_w > 0,
          "kernel, strides and dilations must be positive");
  require(p.groups > 0 && p.input.channels % p.groups == 0 && p.output.channels % p.groups == 0,
          std::to_string(p.groups) + " groups do not divide " + std::to_string(p.input.channels) + " input and " +
              std::to_string(p.output.channels) + " output channels");
  require(p.input.batch == p.output.batch, "input " + shape(p.input) + " and output " + shape(p.output) + " differ in batch");
  const bool same = p.residual.batch == p.output.batch && p.residual.channels == p.output.channels &&
                    p.residual.height == p.output.height && p.residual.width == p.output.width;
  require(p.residual.channels == 0 || same, "residual " + shape(p.residual) + " is not of the output's shape " + shape(p.output));

  const PlanarLayout& in = p.input;
  const int below = (p.output.height - 1) * p.stride_h - p.pad_top + (p.kernel_h - 1) * p.dilation_h - (in.height - 1);
  const int right = (p.output.width - 1) * p.stride_w - p.pad_left + (p.kernel_w - 1) * p.dilation_w - (in.width - 1);
  require(p.pad_top <= in.border.top && below <= in.border.bottom && p.pad_left <= in.border.left && right <= in.border.right,
          "the input's border of " + std::to_string(in.border.top) + ", " + std::to_string(in.border.left) + ", " +
              std::to_string(in.border.bottom) + ", " + std::to_string(in.border.right) + " does not cover padding " +
              std::to_string(p.pad_top) + ", " + std::to_string(p.pad_left) + ", " + std::to_string(below) + ", " +
              std::to_string(right) + " (top, left, bottom, right)");
}

StripGeometry plan_strip(const Conv2dProblem& p, bool int8, int lanes) {
  StripGeometry g;
  g.planes = p.input.groups(int8);
  check_tables("conv2d", int64_t{p.kernel_h} * p.kernel_w * static_cast<int64_t>(sizeof(int32_t) + sizeof(Phase)));
  if (!plan_in_place(p, lanes, g)) plan_phases(p, lanes, g);
  // A vector has a segment for each row that begins in it, and one more.
  const int64_t segments = int64_t{g.vectors} + p.output.height;
  check_tables("conv2d",
               2 * (segments * static_cast<int64_t>(sizeof(Segment)) + g.vectors * static_cast<int64_t>(sizeof(int32_t))));
  require(g.batch_stride() < std::numeric_limits<int32_t>::max() && p.output.plane < std::numeric_limits<int32_t>::max(),
          "input " + shape(p.input) + " is too large: an image must have less than 2^31 elements");
  g.output = segments_of(p.output, g.pitch, g.vectors, lanes);
  if (p.residual.channels != 0) g.residual = segments_of(p.residual, g.pitch, g.vectors, lanes);
  return g;
}

void split_phases(const Conv2dProblem& p, const StripGeometry& g, const uint32_t* input, uint32_t* workspace, int64_t index,
                  EverySecondFunction every_second) noexcept {
  const uint32_t* source = input + index * p.input.plane;
  uint32_t* target = workspace + index * g.plane + g.origin;
  for (const Phase& f : g.phases) {
    const int columns = f.last_column - f.first_column + 1;
    for (int row = f.first_row; row <= f.last_row; ++row) {
      const uint32_t* from = source + p.input.index(row * p.stride_h + f.row, f.first_column * p.stride_w + f.column);
      uint32_t* to = target + static_cast<int64_t>(row) * g.pitch + f.first_column;
      if (p.stride_w == 1) {
        std::memcpy(to, from, static_cast<size_t>(columns) * sizeof(uint32_t));
      } else if (p.stride_w == 2) {
        every_second(from, to, columns);
      } else {
        for (int i = 0; i < columns; ++i) to[i] = from[static_cast<int64_t>(i) * p.stride_w];
      }
    }
    target += g.phase_plane;
  }
}

}  // namespace edgelane
