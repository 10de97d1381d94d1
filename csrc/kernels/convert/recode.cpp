// prepare_recode: int8 is stored as q + 128, which is the uint8 that it is recoded from or to, so that only the layout changes:
// the channels of an image go to the lanes of quads, or come from them.
#include <cstring>

#include "kernels/check.hpp"
#include "kernels/convert/convert.hpp"
#include "kernels/convert/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"

namespace edgelane {
namespace {

// f(index in a plane, index in a channel of the image, n) on runs of some rows: an image has no gaps between its rows.
template <class F>
void for_image_rows(const PlanarLayout& layout, RowRange range, const F& f) {
  if (layout.pitch == layout.width) {
    return f(layout.index(range.first, 0), int64_t{range.first} * layout.width,
             static_cast<int64_t>(range.last - range.first) * layout.width);
  }
  for (int y = range.first; y < range.last; ++y) f(layout.index(y, 0), int64_t{y} * layout.width, int64_t{layout.width});
}

// The image's channel that lane `lane` of a plane of quads holds.
int64_t channel_of(const PlanarLayout& layout, int64_t plane, int lane) {
  const int groups = layout.groups(true), first = static_cast<int>(plane % groups) * kChannelGroup;
  return plane / groups * layout.channels + std::min(first + lane, layout.channels - 1);
}

void to_quads(const TensorDesc& output, const ConvertRows& rows, const KernelArgs& args) noexcept {
  const PlanarLayout& layout = output.layout;
  const int groups = layout.groups(true);
  const int64_t pixels = int64_t{layout.height} * layout.width;
  const auto* x = static_cast<const uint8_t*>(args.inputs[0]);
  parallel_rows(*args.pool, int64_t{layout.batch} * groups, layout.height, layout.plane, [&](int64_t i, RowRange range) {
    uint32_t* plane = static_cast<uint32_t*>(args.output) + i * layout.plane;
    const uint8_t* channels[kChannelGroup];  // lanes behind the last channel become the zero point afterwards
    for (int lane = 0; lane < kChannelGroup; ++lane) channels[lane] = x + channel_of(layout, i, lane) * pixels;
    for_image_rows(layout, range, [&](int64_t to, int64_t from, int64_t n) {
      const uint8_t* const row[4] = {channels[0] + from, channels[1] + from, channels[2] + from, channels[3] + from};
      rows.interleave(row, plane + to, n);
    });
    if (i % groups == groups - 1) fill_channel_padding(plane, layout, border_word(output), range);
    fill_border(plane, layout, border_word(output), range);
  });
}

void from_quads(const TensorDesc& input, const ConvertRows& rows, const KernelArgs& args) noexcept {
  const PlanarLayout& layout = input.layout;
  const int groups = layout.groups(true);
  const int64_t pixels = int64_t{layout.height} * layout.width;
  parallel_rows(*args.pool, int64_t{layout.batch} * groups, layout.height, layout.plane, [&](int64_t i, RowRange range) {
    const uint32_t* plane = static_cast<const uint32_t*>(args.inputs[0]) + i * layout.plane;
    const int used = std::min(kChannelGroup, layout.channels - static_cast<int>(i % groups) * kChannelGroup);
    for (int lane = 0; lane < used; ++lane) {
      uint8_t* y = static_cast<uint8_t*>(args.output) + channel_of(layout, i, lane) * pixels;
      for_image_rows(layout, range, [&](int64_t from, int64_t to, int64_t n) { rows.extract(plane + from, lane, y + to, n); });
    }
  });
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_recode(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options) {
  check_same_shape("recode", input, output);
  const DType from = input.dtype, to = output.dtype;
  check((from == DType::uint8 && to == DType::int8) || (from == DType::int8 && to == DType::uint8), "recode",
        "expected uint8 and int8, found " + shape_text(input) + " and " + shape_text(output));
  const KernelEntry& entry = select_kernel("convert", "recode", options);
  const auto* rows = EDGELANE_FOR_ISA(entry.isa, convert_rows);
  if (output.planar()) return make_kernel(entry, 0, [output, rows](const KernelArgs& args) { to_quads(output, *rows, args); });
  if (input.planar()) return make_kernel(entry, 0, [input, rows](const KernelArgs& args) { from_quads(input, *rows, args); });
  const auto run = [input, output](const KernelArgs& args) {
    if (args.inputs[0] == args.output) return;
    for_same_shape<uint8_t>(args, input, output,
                            [](const uint8_t* x, uint8_t* y, int64_t n) { std::memcpy(y, x, static_cast<size_t>(n)); });
  };
  return make_kernel(entry, 0, run, 0, {true});
}

}  // namespace edgelane
