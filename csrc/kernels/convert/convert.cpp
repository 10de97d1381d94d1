#include "kernels/convert/convert.hpp"

#include "kernels/check.hpp"
#include "kernels/convert/requantizer.hpp"
#include "kernels/convert/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"

namespace edgelane {
namespace {

void check_conversion(const char* step, const TensorDesc& input, DType from, const TensorDesc& output, DType to) {
  check_dtype(step, input, from);
  check_dtype(step, output, to);
  check_same_shape(step, input, output);
}

// f(begin, end) on blocks of a plain tensor.
template <class F>
void for_blocks(const KernelArgs& args, int64_t elements, const F& f) noexcept {
  constexpr int64_t kBlock = 1024;
  parallel_ranges(*args.pool, (elements + kBlock - 1) / kBlock, kBlock,
                  [&](int64_t begin, int64_t end) { f(begin * kBlock, std::min(end * kBlock, elements)); });
}

void run_quantize(const TensorDesc& input, const TensorDesc& output, const ConvertRows& rows, const KernelArgs& args) noexcept {
  const float* x = static_cast<const float*>(args.inputs[0]);
  const QuantParams q = output.quant;
  if (!output.planar()) {
    uint8_t* y = static_cast<uint8_t*>(args.output);
    for_blocks(args, output.elements(),
               [&](int64_t begin, int64_t end) { rows.quantize(x + begin, y + begin, end - begin, q.scale, q.zero_point); });
    return;
  }
  const PlanarLayout &in = input.layout, &out = output.layout;
  const int groups = out.groups(true);
  parallel_rows(*args.pool, static_cast<int64_t>(out.batch) * groups, out.height, out.plane * kChannelGroup,
                [&](int64_t i, RowRange range) {
                  const int group = static_cast<int>(i % groups), last = out.channels - 1;
                  uint32_t* plane = static_cast<uint32_t*>(args.output) + i * out.plane;
                  const float* planes[kChannelGroup];
                  for (int k = 0; k < kChannelGroup; ++k) {  // lanes behind the last channel become the zero point afterwards
                    planes[k] = x + (i / groups * in.channels + std::min(group * kChannelGroup + k, last)) * in.plane;
                  }
                  for_rows(in, out, range, [&](int64_t from, int64_t to, int64_t n) {
                    const float* const row[4] = {planes[0] + from, planes[1] + from, planes[2] + from, planes[3] + from};
                    rows.quantize_quads(row, plane + to, n, q.scale, q.zero_point);
                  });
                  if (group == groups - 1) fill_channel_padding(plane, out, border_word(output), range);
                  fill_border(plane, out, border_word(output), range);
                });
}

void run_dequantize(const TensorDesc& input, const TensorDesc& output, const ConvertRows& rows, const KernelArgs& args) noexcept {
  float* y = static_cast<float*>(args.output);
  const QuantParams q = input.quant;
  if (!output.planar()) {
    const uint8_t* x = static_cast<const uint8_t*>(args.inputs[0]);
    for_blocks(args, output.elements(),
               [&](int64_t begin, int64_t end) { rows.dequantize(x + begin, y + begin, end - begin, q.scale, q.zero_point); });
    return;
  }
  const PlanarLayout &in = input.layout, &out = output.layout;
  const int groups = in.groups(true);
  parallel_ranges(*args.pool, static_cast<int64_t>(out.batch) * out.channels, out.plane, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int channel = static_cast<int>(i % out.channels);
      const uint32_t* from =
          static_cast<const uint32_t*>(args.inputs[0]) + (i / out.channels * groups + channel / kChannelGroup) * in.plane;
      float* plane = y + i * out.plane;
      for_rows(in, out, [&](int64_t a, int64_t b, int64_t n) {
        rows.dequantize_lane(from + a, channel % kChannelGroup, plane + b, n, q.scale, q.zero_point);
      });
      fill_border(plane, out, 0);
    }
  });
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_quantize(const TensorDesc& input, const TensorDesc& output,
                                                 const KernelOptions& options) {
  check_conversion("quantize", input, DType::float32, output, DType::int8);
  const KernelEntry& entry = select_kernel("convert", "quantize_f32", options);
  return make_kernel(entry, 0, [input, output, rows = EDGELANE_FOR_ISA(entry.isa, convert_rows)](const KernelArgs& args) {
    run_quantize(input, output, *rows, args);
  });
}

std::unique_ptr<PreparedKernel> prepare_dequantize(const TensorDesc& input, const TensorDesc& output,
                                                   const KernelOptions& options) {
  check_conversion("dequantize", input, DType::int8, output, DType::float32);
  const KernelEntry& entry = select_kernel("convert", "dequantize_s8", options);
  return make_kernel(entry, 0, [input, output, rows = EDGELANE_FOR_ISA(entry.isa, convert_rows)](const KernelArgs& args) {
    run_dequantize(input, output, *rows, args);
  });
}

std::unique_ptr<PreparedKernel> prepare_requantize(const TensorDesc& input, const TensorDesc& output,
                                                   const KernelOptions& options) {
  check_conversion("requantize", input, DType::int8, output, DType::int8);
  const KernelEntry& entry = select_kernel("convert", "requantize_s8", options);
  const auto run = [input, output, bytes = Requantizer(input.quant, output.quant, entry.isa)](const KernelArgs& args) {
    for_same_shape<uint8_t>(args, input, output, [&](const uint8_t* x, uint8_t* y, int64_t n) { bytes.run(x, y, n); });
  };
  return make_kernel(entry, 0, run, 0, {same_memory(input, output)});
}

}  // namespace edgelane
