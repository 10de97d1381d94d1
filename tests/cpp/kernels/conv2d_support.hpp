// Shapes that hurt, tensors with borders, and runs of one prepared convolution: shared by the conv2d tests.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/conv2d/conv2d.hpp"

namespace edgelane {

struct Conv2dCase {
  const char* name;
  int batch, channels, height, width, oc;
  int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, groups;
  Border pads;          // what the operator pads
  Border more_input;    // border beyond that, which another reader of the tensor wants
  Border output;        // border of the output
  const char* pattern;  // "dense", "unstructured", "4x1", "1x4", "4x4", "zero", "one"
  bool residual;
};

inline std::vector<Conv2dCase> conv2d_cases() {
  const Border no{}, one{1, 1, 1, 1}, two{2, 2, 2, 2}, odd{0, 2, 3, 1};
  return {
      // name, n, c, h, w, oc, k, stride, dilation, groups, pads, more, output, pattern, residual
      {"one_pixel", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, no, no, no, "dense", false},
      {"one_pixel_many_channels", 1, 67, 1, 1, 35, 1, 1, 1, 1, 1, 1, 1, no, no, one, "dense", true},
      {"one_row", 1, 5, 1, 47, 7, 1, 3, 1, 1, 1, 1, 1, {0, 1, 0, 1}, no, no, "dense", false},
      {"one_column", 1, 5, 47, 1, 7, 3, 1, 1, 1, 1, 1, 1, {1, 0, 1, 0}, no, one, "unstructured", false},
      {"lanes_minus_one", 1, 8, 3, 5, 4, 1, 1, 1, 1, 1, 1, 1, no, no, no, "4x4", false},
      {"lanes_plus_one", 1, 8, 1, 17, 4, 1, 1, 1, 1, 1, 1, 1, no, no, no, "4x4", true},
      {"tile_minus_one", 1, 9, 5, 19, 8, 3, 3, 1, 1, 1, 1, 1, one, no, one, "4x1", true},
      {"tile_exactly", 1, 16, 6, 16, 16, 1, 1, 1, 1, 1, 1, 1, no, no, no, "4x4", false},
      {"tile_plus_one", 1, 16, 1, 97, 17, 1, 1, 1, 1, 1, 1, 1, no, no, no, "unstructured", false},
      {"several_tiles", 1, 12, 23, 29, 20, 3, 3, 1, 1, 1, 1, 1, one, no, one, "4x4", true},
      {"prime_sizes", 1, 13, 11, 17, 19, 3, 3, 1, 1, 1, 1, 1, one, no, no, "unstructured", true},
      {"chunks_of_channels", 1, 150, 9, 13, 37, 3, 3, 1, 1, 1, 1, 1, one, no, one, "4x4", true},
      {"chunks_dense", 1, 131, 7, 7, 41, 3, 3, 1, 1, 1, 1, 1, one, no, no, "dense", false},
      {"groups_of_blocks", 1, 7, 5, 6, 131, 1, 1, 1, 1, 1, 1, 1, no, no, one, "1x4", true},
      {"all_zero", 1, 8, 6, 7, 12, 3, 3, 1, 1, 1, 1, 1, one, no, one, "zero", true},
      {"one_weight", 1, 8, 6, 7, 12, 3, 3, 1, 1, 1, 1, 1, one, no, one, "one", false},
      {"one_input_channel", 2, 1, 9, 9, 5, 5, 5, 1, 1, 1, 1, 1, two, no, no, "dense", false},
      {"channels_not_of_four", 1, 6, 8, 9, 10, 3, 3, 1, 1, 1, 1, 1, one, no, two, "1x4", true},
      {"stride_2", 1, 8, 14, 15, 12, 3, 3, 2, 2, 1, 1, 1, one, no, one, "4x4", true},
      {"stride_2_odd", 2, 5, 13, 11, 9, 3, 3, 2, 2, 1, 1, 1, one, no, no, "unstructured", false},
      {"stride_2_pointwise", 1, 16, 14, 14, 24, 1, 1, 2, 2, 1, 1, 1, no, one, no, "4x1", true},
      {"stem", 1, 3, 32, 35, 16, 7, 7, 2, 2, 1, 1, 1, {3, 3, 3, 3}, no, one, "dense", false},
      {"patches", 1, 3, 32, 32, 12, 4, 4, 4, 4, 1, 1, 1, no, no, no, "dense", false},
      {"stride_3_by_1", 1, 4, 13, 10, 6, 3, 2, 3, 1, 1, 1, 1, {1, 1, 0, 0}, no, one, "dense", true},
      {"stride_1_by_2", 1, 4, 10, 13, 6, 2, 3, 1, 2, 1, 1, 1, {1, 1, 0, 1}, no, one, "4x4", false},
      {"a_phase_for_each_of_many_taps", 1, 1, 211, 211, 1, 211, 211, 211, 211, 1, 1, 1, no, no, no, "dense", false},
      {"stride_past_the_kernel", 1, 4, 17, 19, 5, 2, 2, 5, 3, 1, 1, 1, no, no, no, "dense", false},
      {"dilated", 1, 8, 15, 14, 8, 3, 3, 1, 1, 2, 2, 1, two, no, one, "4x4", true},
      {"dilated_unevenly_with_stride", 1, 4, 19, 21, 8, 3, 3, 2, 2, 3, 2, 1, {3, 2, 3, 2}, no, one, "4x1", false},
      {"asymmetric_padding", 1, 6, 9, 10, 8, 3, 4, 1, 1, 1, 1, 1, {0, 3, 2, 1}, no, no, "dense", true},
      {"same_upper_stride_2", 1, 6, 12, 12, 8, 3, 3, 2, 2, 1, 1, 1, {0, 0, 1, 1}, no, one, "unstructured", false},
      {"no_padding", 1, 6, 9, 10, 8, 3, 3, 1, 1, 1, 1, 1, no, no, no, "dense", false},
      {"padding_beyond_the_kernel", 2, 5, 4, 6, 7, 1, 1, 1, 1, 1, 1, 1, two, no, one, "dense", true},
      {"padding_far_beyond_the_kernel", 1, 6, 3, 4, 8, 2, 2, 1, 1, 1, 1, 1, {5, 7, 4, 6}, odd, no, "4x4", false},
      {"large_kernel_without_padding", 1, 3, 12, 12, 4, 11, 9, 1, 1, 1, 1, 1, no, no, no, "dense", false},
      {"other_pitch_of_input", 1, 8, 10, 11, 8, 1, 1, 1, 1, 1, 1, 1, no, two, no, "4x4", true},
      {"other_pitch_of_output", 1, 8, 10, 11, 8, 1, 1, 1, 1, 1, 1, 1, no, no, odd, "4x4", true},
      {"wide_rows_of_other_pitch", 1, 5, 3, 50, 6, 1, 1, 1, 1, 1, 1, 1, no, odd, one, "1x4", true},
      {"narrow_rows_of_other_pitch", 1, 5, 19, 2, 6, 1, 1, 1, 1, 1, 1, 1, no, one, odd, "4x1", true},
      {"batch", 3, 8, 7, 7, 12, 3, 3, 1, 1, 1, 1, 1, one, no, one, "4x4", true},
      {"grouped", 1, 12, 9, 9, 18, 3, 3, 1, 1, 1, 1, 3, one, no, one, "dense", true},
      {"grouped_of_two", 2, 10, 6, 7, 15, 3, 3, 1, 1, 1, 1, 5, one, no, no, "unstructured", false},
      {"grouped_wide", 1, 64, 7, 7, 64, 3, 3, 2, 2, 1, 1, 2, one, no, one, "4x4", true},
      {"depthwise", 1, 11, 14, 13, 11, 3, 3, 1, 1, 1, 1, 11, one, no, one, "dense", true},
      {"depthwise_stride_2", 1, 16, 15, 15, 16, 5, 5, 2, 2, 1, 1, 16, two, no, no, "dense", false},
      {"depthwise_doubling", 1, 6, 8, 8, 12, 3, 3, 1, 1, 1, 1, 6, one, no, one, "dense", false},
  };
}

inline Conv2dProblem conv2d_problem(const Conv2dCase& c) {
  Conv2dProblem p;
  const int height = (c.height + c.pads.top + c.pads.bottom - (c.kernel_h - 1) * c.dilation_h - 1) / c.stride_h + 1;
  const int width = (c.width + c.pads.left + c.pads.right - (c.kernel_w - 1) * c.dilation_w - 1) / c.stride_w + 1;
  p.input = PlanarLayout(c.batch, c.channels, c.height, c.width, c.pads.merged(c.more_input));
  p.output = PlanarLayout(c.batch, c.oc, height, width, c.output);
  if (c.residual) p.residual = PlanarLayout(c.batch, c.oc, height, width, c.more_input);
  p.kernel_h = c.kernel_h;
  p.kernel_w = c.kernel_w;
  p.stride_h = c.stride_h;
  p.stride_w = c.stride_w;
  p.dilation_h = c.dilation_h;
  p.dilation_w = c.dilation_w;
  p.pad_top = c.pads.top;
  p.pad_left = c.pads.left;
  p.groups = c.groups;
  return p;
}

// Whether the pattern keeps the weight; blocks are drawn with a probability of 0.3.
inline bool keeps_weight(const std::string& pattern, int oc, int ic, int tap, unsigned seed) {
  if (pattern == "dense") return true;
  if (pattern == "zero") return false;
  if (pattern == "one") return oc == 5 && ic == 3 && tap == 4;
  const int block_oc = pattern == "4x1" || pattern == "4x4" ? 4 : 1;
  const int block_ic = pattern == "1x4" || pattern == "4x4" ? 4 : 1;
  uint32_t draw = seed;
  for (int part : {oc / block_oc, ic / block_ic, tap}) {
    draw = (draw ^ static_cast<uint32_t>(part)) * 0x9e3779b1u;
    draw ^= draw >> 15;
  }
  return draw % 10 < 3;
}

// Calls f(index of the weight, whether it is kept) for all weights.
template <class F>
void for_each_weight(const Conv2dCase& c, const F& f) {
  const int ic = c.channels / c.groups, taps = c.kernel_h * c.kernel_w;
  size_t index = 0;
  for (int o = 0; o < c.oc; ++o)
    for (int i = 0; i < ic; ++i)
      for (int t = 0; t < taps; ++t, ++index) f(index, keeps_weight(c.pattern, o, i, t, 7));
}

// A slope from -1 to 1 for each output channel.
inline std::vector<float> some_slopes(const Conv2dCase& c) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> slopes;
  for (int o = 0; o < c.oc; ++o) slopes.push_back(uniform(random));
  return slopes;
}

// The float32 tensors of a case: weights, bias and residual from -1 to 1, inputs from lowest_input to 1.
struct Conv2dFloats {
  std::vector<float> weights, bias;
  AlignedBuffer<float> x, residual;

  Conv2dFloats(const Conv2dCase& c, const Conv2dProblem& p, float lowest_input = -1.0f) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    for_each_weight(c, [&](size_t, bool kept) { weights.push_back(kept ? uniform(random) : 0.0f); });
    for (int o = 0; o < c.oc; ++o) bias.push_back(uniform(random));
    x = filled(p.input, lowest_input, random);
    if (c.residual) residual = filled(p.residual, -1.0f, random);
  }

  static AlignedBuffer<float> filled(const PlanarLayout& layout, float lowest, std::mt19937& random) {
    std::uniform_real_distribution<float> uniform(lowest, 1.0f);
    AlignedBuffer<float> data(layout.bytes(false) / sizeof(float));
    for (int64_t plane = 0; plane < static_cast<int64_t>(layout.batch) * layout.channels; ++plane)
      for (int y = 0; y < layout.height; ++y)
        for (int x = 0; x < layout.width; ++x) data[plane * layout.plane + layout.index(y, x)] = uniform(random);
    return data;
  }
};

// Runs and returns the output, `elements` of T. The output and the workspace hold rubbish before; memory behind both is watched.
template <class T>
std::vector<T> run_conv2d(const PreparedKernel& kernel, const void* x, const void* residual, size_t elements, int threads) {
  constexpr size_t kGuard = 256;
  constexpr uint8_t kRubbish = 0xfd;  // a NaN as float32
  AlignedBuffer<uint8_t> output(elements * sizeof(T) + kGuard), workspace(kernel.workspace_bytes() + kGuard);
  std::memset(output.data(), kRubbish, output.size());
  std::memset(workspace.data(), kRubbish, workspace.size());
  ThreadPool pool(threads);
  const void* inputs[] = {x, residual};
  KernelArgs args;
  args.inputs = inputs;
  args.output = output.data();
  args.workspace = workspace.data();
  args.pool = &pool;
  kernel.run(args);
  for (size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(output[elements * sizeof(T) + i], kRubbish) << "wrote " << i << " bytes past the output";
    EXPECT_EQ(workspace[kernel.workspace_bytes() + i], kRubbish) << "wrote " << i << " bytes past the workspace";
  }
  std::vector<T> result(elements);
  std::memcpy(result.data(), output.data(), elements * sizeof(T));
  return result;
}

inline bool runs_here(Isa isa) {
  for (Isa have : available_isas())
    if (have == isa) return true;
  return false;
}

// Tests of one kernel, a Line with its instruction set: skipped where the CPU lacks that.
template <class Line>
class KernelTest : public testing::TestWithParam<Line> {
 protected:
  void SetUp() override {
    const Isa isa = this->GetParam().isa;
    if (!runs_here(isa)) GTEST_SKIP() << "this CPU lacks " << isa_name(isa);
  }
};

// Those with several tiles, with several chunks, and with rows of another pitch: one for each way through an epilogue.
inline std::vector<Conv2dCase> epilogue_cases() {
  std::vector<Conv2dCase> cases;
  for (const Conv2dCase& c : conv2d_cases()) {
    const std::string name = c.name;
    if (name == "several_tiles" || name == "chunks_of_channels" || name == "narrow_rows_of_other_pitch") cases.push_back(c);
  }
  return cases;
}

// Calls f(case, options) for those shapes, cut into smaller ones than the kernel would choose.
template <class F>
void for_each_cut(KernelOptions options, const F& f) {
  options.threads = 3;
  for (const Conv2dCase& c : epilogue_cases())
    for (const int vectors : {1, 3})
      for (const int planes : {1, 4}) {
        options.tile_vectors = vectors;
        options.chunk_planes = planes;
        f(c, options);
      }
}

}  // namespace edgelane
