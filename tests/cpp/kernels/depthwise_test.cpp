// Every depthwise kernel against conv2d's reference: int8 equal bit for bit, float32 within the error of its sums.
#include "kernels/depthwise/depthwise.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cfloat>
#include <cmath>
#include <functional>
#include <new>
#include <random>

#include "core/status.hpp"
#include "kernels/conv2d/reference.hpp"
#include "kernels/conv2d_support.hpp"
#include "kernels/registry.hpp"

namespace edgelane {
namespace {

struct Line {
  const char* name;
  Isa isa;
};

std::vector<Line> lines(const std::string& operation) {
  std::vector<Line> found;
  for (const KernelEntry& entry : all_kernels())
    if (std::string(entry.family) == "depthwise" && std::string(entry.name).rfind(operation + "_", 0) == 0)
      found.push_back({entry.name, entry.isa});
  return found;
}

// Memory whose first byte lies right behind a page that cannot be read, or whose last one right before such a page.
class Fenced {
 public:
  enum class Fence { before, after };

  Fenced(const void* data, size_t bytes, Fence fence) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t body = (bytes + page - 1) / page * page;
    mapped_ = body + 2 * page;
    map_ = static_cast<uint8_t*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (map_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(map_, page, PROT_NONE);
    mprotect(map_ + page + body, page, PROT_NONE);
    data_ = fence == Fence::before ? map_ + page : map_ + page + body - bytes;
    std::memcpy(data_, data, bytes);
  }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  ~Fenced() { munmap(map_, mapped_); }
  const void* data() const { return data_; }

 private:
  uint8_t *map_, *data_;
  size_t mapped_;
};

Conv2dCase square(const char* name, int channels, int height, int width, int kernel, int stride, int dilation, Border output,
                  bool residual) {
  const int pad = kernel / 2 * dilation;
  return {name,   1,      channels, height,   width,    channels, kernel,
          kernel, stride, stride,   dilation, dilation, channels, {pad, pad, pad, pad},
          {},     output, "dense",  residual};
}

std::vector<Conv2dCase> depthwise_cases() {
  const Border no{}, one{1, 1, 1, 1}, two{2, 2, 2, 2}, odd{0, 2, 3, 1};
  std::vector<Conv2dCase> cases = {
      // name, n, c, h, w, oc, k, stride, dilation, groups, pads, more, output, pattern, residual
      {"one_output", 1, 5, 3, 3, 5, 3, 3, 1, 1, 1, 1, 5, no, no, no, "dense", true},
      {"one_output_stride_2", 1, 5, 4, 4, 5, 3, 3, 2, 2, 1, 1, 5, {0, 0, 1, 1}, no, one, "dense", false},
      {"pointwise", 1, 6, 7, 33, 6, 1, 1, 1, 1, 1, 1, 6, no, no, no, "dense", true},
      {"pointwise_stride_2", 1, 6, 8, 35, 6, 1, 1, 2, 2, 1, 1, 6, no, no, one, "dense", true},
      {"pointwise_stride_2_narrow", 1, 6, 8, 7, 6, 1, 1, 2, 2, 1, 1, 6, no, no, one, "dense", false},
      {"no_padding_to_the_last_element", 1, 4, 16, 17, 4, 2, 3, 2, 2, 1, 1, 4, no, no, no, "dense", false},
      {"no_padding_wide", 1, 4, 17, 65, 4, 3, 3, 2, 2, 1, 1, 4, no, no, no, "dense", true},
      {"no_padding_narrow", 1, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 4, no, no, no, "dense", false},
      {"three_by_one", 1, 6, 12, 20, 6, 3, 1, 1, 1, 1, 1, 6, {1, 0, 1, 0}, no, one, "dense", true},
      {"one_by_five", 1, 6, 5, 40, 6, 1, 5, 1, 1, 1, 1, 6, {0, 2, 0, 2}, no, no, "dense", true},
      {"two_by_four", 1, 6, 9, 21, 6, 2, 4, 1, 2, 1, 1, 6, {0, 1, 1, 2}, no, one, "dense", false},
      {"nine_by_nine", 1, 3, 20, 37, 3, 9, 9, 1, 1, 1, 1, 3, {4, 4, 4, 4}, no, no, "dense", true},
      {"stride_3_by_1", 1, 4, 13, 20, 4, 3, 3, 3, 1, 1, 1, 4, one, no, one, "dense", true},
      {"stride_1_by_2", 1, 4, 10, 41, 4, 3, 3, 1, 2, 1, 1, 4, one, no, one, "dense", true},
      {"stride_2_by_1", 1, 4, 10, 21, 4, 3, 3, 2, 1, 1, 1, 4, one, no, one, "dense", true},
      {"dilated_with_stride_2", 1, 4, 21, 39, 4, 3, 3, 2, 2, 2, 2, 4, two, no, one, "dense", true},
      {"dilated_unevenly", 1, 6, 15, 40, 6, 3, 3, 1, 1, 3, 2, 6, {3, 2, 3, 2}, no, one, "dense", true},
      {"asymmetric_padding", 1, 6, 9, 18, 6, 3, 3, 1, 1, 1, 1, 6, {0, 3, 2, 1}, no, no, "dense", true},
      {"padding_far_beyond_the_kernel", 1, 6, 3, 4, 6, 3, 3, 1, 1, 1, 1, 6, {5, 7, 4, 6}, odd, no, "dense", false},
      {"same_upper_stride_2", 1, 6, 12, 40, 6, 3, 3, 2, 2, 1, 1, 6, {0, 0, 1, 1}, no, one, "dense", false},
      {"other_pitches", 1, 8, 10, 19, 8, 3, 3, 1, 1, 1, 1, 8, one, odd, two, "dense", true},
      {"batch", 3, 9, 7, 18, 9, 3, 3, 1, 1, 1, 1, 9, one, no, one, "dense", true},
      {"zero_weights", 1, 8, 6, 18, 8, 3, 3, 1, 1, 1, 1, 8, one, no, one, "zero", true},
  };
  for (int kernel : {3, 5, 7}) {
    cases.push_back(square("narrow", 11, 7, 7, kernel, 1, 1, no, true));
    cases.push_back(square("narrow_stride_2", 8, 14, 14, kernel, 2, 1, one, true));
    cases.push_back(square("lanes_minus_one", 4, 9, 15, kernel, 1, 1, one, false));
    cases.push_back(square("lanes_exactly", 4, 8, 16, kernel, 1, 1, no, false));
    cases.push_back(square("lanes_plus_one", 6, 5, 17, kernel, 1, 1, one, true));
    cases.push_back(square("gap_past_the_last_vector", 4, 9, 16, kernel, 1, 1, {1, 20, 1, 0}, true));
    cases.push_back(square("narrow_with_a_wide_gap", 4, 9, 5, kernel, 1, 1, {0, 0, 2, 23}, true));
    cases.push_back(square("bands_of_rows", 3, 37, 40, kernel, 1, 1, one, true));
    cases.push_back(square("one_pixel", 3, 1, 1, kernel, 1, 1, {}, true));
    cases.push_back(square("lanes_plus_one_stride_2", 6, 9, 33, kernel, 2, 1, one, true));
    cases.push_back(square("few_rows", 5, 3, 40, kernel, 1, 1, one, true));
    cases.push_back(square("one_row_stride_2", 5, 1, 40, kernel, 2, 1, one, true));
    cases.push_back(square("prime", 13, 23, 53, kernel, 1, 1, odd, true));
    cases.push_back(square("prime_stride_2", 13, 23, 53, kernel, 2, 1, odd, true));
    cases.push_back(square("dilated", 5, 23, 29, kernel, 1, 2, one, true));
    cases.push_back(square("dilated_by_more_than_the_rows", 5, 4, 29, kernel, 1, 5, no, false));
  }
  return cases;
}

template <class T>
AlignedBuffer<T> filled(const PlanarLayout& layout, T border, int width, const std::function<T()>& draw) {
  AlignedBuffer<T> data(layout.bytes(width > 1) / sizeof(T));
  std::fill(data.data(), data.data() + data.size(), border);
  for (int64_t plane = 0; plane < static_cast<int64_t>(layout.batch) * layout.groups(width > 1); ++plane)
    for (int y = 0; y < layout.height; ++y)
      for (int x = 0; x < layout.width * width; ++x)
        data[static_cast<size_t>((plane * layout.plane + layout.index(y, 0)) * width + x)] = draw();
  return data;
}

KernelOptions forced(const Line& line) { return {line.isa, line.name}; }

class Depthwise : public KernelTest<Line> {};
class DepthwiseF32 : public Depthwise {};
class DepthwiseS8 : public Depthwise {};

void compare_f32(const Line& line, const Conv2dCase& c, const Activation& activation, bool with_bias = true,
                 Span<const float> slope = {}) {
  SCOPED_TRACE(std::string(line.name) + " on " + c.name + " " + std::to_string(c.kernel_h));
  Conv2dProblem p = conv2d_problem(c);
  p.activation = activation;
  ASSERT_TRUE(is_depthwise(p, false));
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  const std::function<float()> draw = [&] { return uniform(random); };
  std::vector<float> weights, bias;
  for_each_weight(c, [&](size_t, bool kept) { weights.push_back(kept ? draw() : 0.0f); });
  for (int o = 0; o < c.oc && with_bias; ++o) bias.push_back(draw());
  const AlignedBuffer<float> x = filled<float>(p.input, 0.0f, 1, draw);
  const AlignedBuffer<float> residual = c.residual ? filled<float>(p.residual, 0.0f, 1, draw) : AlignedBuffer<float>();
  const auto kernel = prepare_depthwise_f32(p, weights, bias, forced(line), slope);
  EXPECT_EQ(kernel->info().kernel, line.name);
  EXPECT_EQ(kernel->info().isa, line.isa);

  const size_t elements = p.output.bytes(false) / sizeof(float);
  std::vector<float> expected(elements), magnitude(elements);
  reference_conv2d_f32(p, weights, bias, x.data(), residual.data(), expected.data(), magnitude.data(), slope);
  const Fenced before(x.data(), x.bytes(), Fenced::Fence::before), after(x.data(), x.bytes(), Fenced::Fence::after);
  const std::vector<float> y = run_conv2d<float>(*kernel, before.data(), residual.data(), elements, 1);

  // As for conv2d: K products in a row are off by at most about K * eps times the sum of their magnitudes (Higham, 3.5); the
  // activations tested have a slope of at most 1.2 and an own error of a few eps.
  const float terms = static_cast<float>(c.kernel_h * c.kernel_w + 4);
  int wrong = 0;
  for (size_t i = 0; i < elements && wrong < 5; ++i) {
    const float tolerance = 1.2f * terms * FLT_EPSILON * magnitude[i] + 8 * FLT_EPSILON * std::fabs(expected[i]);
    if (!(std::fabs(y[i] - expected[i]) <= tolerance)) {
      ++wrong;
      ADD_FAILURE() << "element " << i << " is " << y[i] << ", expected " << expected[i] << " within " << tolerance;
    }
  }
  const std::vector<float> again = run_conv2d<float>(*kernel, after.data(), residual.data(), elements, 2);
  EXPECT_EQ(std::memcmp(y.data(), again.data(), elements * sizeof(float)), 0) << "two threads change the result";
}

TEST_P(DepthwiseF32, EqualsTheReferenceOnHostileShapes) {
  for (const Conv2dCase& c : depthwise_cases()) compare_f32(GetParam(), c, {ActivationKind::relu, 0, 0});
}

TEST_P(DepthwiseF32, TakesSeveralOutputChannelsForEachInputChannel) {
  const Border one{1, 1, 1, 1};
  const Conv2dCase c = {"multiplier", 2, 5, 9, 20, 15, 3, 3, 1, 1, 1, 1, 5, one, {}, one, "dense", true};
  compare_f32(GetParam(), c, {ActivationKind::none, 0, 0});
}

TEST_P(DepthwiseF32, AppliesEveryKindOfEpilogue) {
  for (const Conv2dCase& c : {square("wide", 6, 9, 37, 3, 1, 1, {1, 1, 1, 1}, true), square("narrow", 6, 9, 7, 3, 2, 1, {}, true),
                              square("any", 6, 2, 37, 3, 1, 1, {}, true)}) {
    for (const Activation& a : {Activation{ActivationKind::none, 0, 0}, Activation{ActivationKind::clip, -0.5f, 1.5f},
                                Activation{ActivationKind::sigmoid, 0, 0}, Activation{ActivationKind::hard_swish, 0, 0},
                                Activation{ActivationKind::leaky_relu, 0.1f, 0}, Activation{ActivationKind::silu, 0, 0}})
      compare_f32(GetParam(), c, a);
    compare_f32(GetParam(), c, {ActivationKind::none, 0, 0}, false);
    compare_f32(GetParam(), c, {}, true, some_slopes(c));
  }
}

TEST_P(DepthwiseF32, KeepsNaNNearItsOwnPixel) {
  for (int width : {7, 16, 37}) {
    const Conv2dCase c = square("nan", 4, 9, width, 3, 1, 1, {1, 1, 1, 1}, false);
    Conv2dProblem p = conv2d_problem(c);
    p.activation = {ActivationKind::clip, 0, 6};
    AlignedBuffer<float> x(p.input.bytes(false) / sizeof(float));
    for (int at : {width / 2, width - 1}) {  // the latter next to the gap, over which vectors are computed
      std::fill(x.data(), x.data() + x.size(), 0.0f);
      x[static_cast<size_t>(p.input.index(4, at))] = NAN;
      const std::vector<float> weights(4 * 9, 1.0f);
      const auto kernel = prepare_depthwise_f32(p, weights, {}, forced(GetParam()));
      const size_t elements = p.output.bytes(false) / sizeof(float);
      const std::vector<float> y = run_conv2d<float>(*kernel, x.data(), nullptr, elements, 1);
      std::vector<bool> near(elements);
      for (int row = 3; row <= 5; ++row)
        for (int column = at - 1; column <= std::min(at + 1, width - 1); ++column)
          near[static_cast<size_t>(p.output.index(row, column))] = true;
      for (size_t i = 0; i < elements; ++i) EXPECT_EQ(std::isnan(y[i]), near[i]) << "element " << i << ", width " << width;
    }
  }
}

struct Quantisation {
  int input_zero, output_zero, residual_zero;
  bool intermediate, float_output;
};

// allowed_steps: 0, or 1 where the activation goes through an approximation of its own.
void compare_s8(const Line& line, const Conv2dCase& c, const Activation& activation, const Quantisation& q, int allowed_steps = 0,
                Span<const float> slope = {}) {
  SCOPED_TRACE(std::string(line.name) + " on " + c.name + " " + std::to_string(c.kernel_h) + ", activation " +
               activation_name(activation.kind));
  Conv2dProblem p = conv2d_problem(c);
  p.activation = activation;
  ASSERT_TRUE(is_depthwise(p, true));
  std::mt19937 random(1);
  std::uniform_int_distribution<int> any(-128, 127);
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> weight_scales;
  for_each_weight(c, [&](size_t, bool kept) { weights.push_back(static_cast<int8_t>(kept ? any(random) : 0)); });
  for (int o = 0; o < c.oc; ++o) {
    bias.push_back(any(random) * 50);
    weight_scales.push_back(0.01f * std::uniform_real_distribution<float>(0.5f, 1.5f)(random));
  }
  // Extremes more often than by chance.
  const std::function<uint8_t()> draw = [&] {
    const int stored = any(random) + 128;
    return static_cast<uint8_t>(stored < 32 ? 0 : stored > 224 ? 255 : stored);
  };
  Conv2dS8Params params;
  params.input = {0.05f, q.input_zero};
  params.residual = {0.3f, q.residual_zero};
  // So that some results saturate and most do not.
  params.output = {0.05f * 0.01f * 128 * std::sqrt(static_cast<float>(c.kernel_h * c.kernel_w)) * 0.3f, q.output_zero};
  params.has_intermediate = q.intermediate;
  params.intermediate = {params.output.scale * 1.1f, 3};
  params.weight_scales = weight_scales;
  params.float_output = q.float_output;
  const AlignedBuffer<uint8_t> x = filled<uint8_t>(p.input, static_cast<uint8_t>(q.input_zero + 128), kChannelGroup, draw);
  const AlignedBuffer<uint8_t> residual =
      c.residual ? filled<uint8_t>(p.residual, static_cast<uint8_t>(q.residual_zero + 128), kChannelGroup, draw)
                 : AlignedBuffer<uint8_t>();
  const auto kernel = prepare_depthwise_s8(p, params, weights, bias, forced(line), slope);
  EXPECT_EQ(kernel->info().kernel, line.name);

  const size_t bytes = p.output.bytes(!q.float_output);
  std::vector<uint8_t> expected(bytes);
  reference_conv2d_s8(p, params, weights, bias, x.data(), residual.data(), expected.data(), slope);
  const Fenced before(x.data(), x.bytes(), Fenced::Fence::before), after(x.data(), x.bytes(), Fenced::Fence::after);
  const std::vector<uint8_t> y = run_conv2d<uint8_t>(*kernel, before.data(), residual.data(), bytes, 1);
  int wrong = 0;
  for (size_t i = 0; i < bytes && wrong < 5; ++i)
    if (std::abs(y[i] - expected[i]) > allowed_steps) {
      ++wrong;
      ADD_FAILURE() << "byte " << i << " is " << int{y[i]} << ", expected " << int{expected[i]};
    }
  EXPECT_EQ(run_conv2d<uint8_t>(*kernel, after.data(), residual.data(), bytes, 2), y) << "two threads change the result";
}

TEST_P(DepthwiseS8, EqualsTheReferenceOnHostileShapes) {
  for (const Conv2dCase& c : depthwise_cases()) {
    compare_s8(GetParam(), c, {ActivationKind::relu, 0, 0}, {-7, 5, 9, true, false});
    compare_s8(GetParam(), c, {ActivationKind::none, 0, 0}, {0, 0, 0, false, false});
    compare_s8(GetParam(), c, {ActivationKind::relu, 0, 0}, {3, 0, -4, false, true});
  }
}

TEST_P(DepthwiseS8, AppliesEveryKindOfEpilogue) {
  for (const Conv2dCase& c : {square("wide", 6, 9, 37, 3, 1, 1, {1, 1, 1, 1}, true), square("narrow", 7, 9, 7, 5, 2, 1, {}, true),
                              square("any", 6, 2, 37, 3, 1, 1, {}, true)}) {
    for (int extreme : {-128, 127}) {
      compare_s8(GetParam(), c, {ActivationKind::relu, 0, 0}, {extreme, extreme, extreme, false, false});
      compare_s8(GetParam(), c, {ActivationKind::clip, -0.4f, 0.9f}, {extreme, 0, -extreme - 1, true, false});
    }
    for (bool intermediate : {false, true}) {
      compare_s8(GetParam(), c, {ActivationKind::clip, 0.5f, 6.0f}, {3, -128, -4, intermediate, false});
      compare_s8(GetParam(), c, {ActivationKind::leaky_relu, 0.1f, 0}, {0, 1, 2, intermediate, false});
      for (bool float_output : {false, true})
        compare_s8(GetParam(), c, {}, {4, 11, -2, intermediate, float_output}, 0, some_slopes(c));
      compare_s8(GetParam(), c, {ActivationKind::hard_swish, 0, 0}, {0, 1, 2, intermediate, false}, 1);
      compare_s8(GetParam(), c, {ActivationKind::sigmoid, 0, 0}, {0, 1, 2, intermediate, false}, 1);
    }
  }
}

TEST_P(DepthwiseS8, AccumulatesExtremesExactly) {
  const Conv2dCase c = square("extremes", 5, 9, 37, 3, 1, 1, {}, false);
  const Conv2dProblem p = conv2d_problem(c);
  const float one = 1.0f;
  Conv2dS8Params params;
  params.input = {1.0f, 0};
  params.weight_scales = {&one, 1};
  params.float_output = true;
  for (int8_t weight : {int8_t{-128}, int8_t{127}})
    for (uint8_t stored : {uint8_t{0}, uint8_t{255}}) {
      const std::vector<int8_t> weights(5 * 9, weight);
      AlignedBuffer<uint8_t> x(p.input.bytes(true));
      std::memset(x.data(), stored, x.size());
      const auto kernel = prepare_depthwise_s8(p, params, weights, {}, forced(GetParam()));
      const std::vector<float> y = run_conv2d<float>(*kernel, x.data(), nullptr, p.output.bytes(false) / sizeof(float), 1);
      for (int channel = 0; channel < 5; ++channel)
        EXPECT_EQ(y[static_cast<size_t>(channel * p.output.plane + p.output.index(4, 20))],
                  static_cast<float>(9 * weight * (stored - 128)));
    }
}

std::string line_name(const testing::TestParamInfo<Line>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(EveryKernel, DepthwiseF32, testing::ValuesIn(lines("depthwise_f32")), line_name);
INSTANTIATE_TEST_SUITE_P(EveryKernel, DepthwiseS8, testing::ValuesIn(lines("depthwise_s8")), line_name);

TEST(DepthwiseChoice, TakesWhatItCanAndRefusesTheRest) {
  const auto problem = [](int channels, int oc, int groups, int stride_w) {
    Conv2dProblem p;
    p.input = PlanarLayout(1, channels, 8, 8, {1, 1, 1, 1});
    p.output = PlanarLayout(1, oc, 8, (8 + stride_w - 1) / stride_w);
    p.kernel_h = p.kernel_w = 3;
    p.pad_top = p.pad_left = 1;
    p.stride_w = stride_w;
    p.groups = groups;
    return p;
  };
  EXPECT_TRUE(is_depthwise(problem(8, 8, 8, 1), true));
  EXPECT_TRUE(is_depthwise(problem(8, 16, 8, 1), false));
  EXPECT_FALSE(is_depthwise(problem(8, 16, 8, 1), true)) << "a quad of results would read several quads of channels";
  EXPECT_FALSE(is_depthwise(problem(8, 8, 4, 1), false));
  EXPECT_FALSE(is_depthwise(problem(8, 8, 8, 3), false));
  const std::vector<float> weights(8 * 2 * 9);
  EXPECT_THROW(prepare_depthwise_f32(problem(8, 8, 4, 1), weights, {}, {Isa::scalar, ""}), Error);
  EXPECT_THROW(prepare_depthwise_f32(problem(8, 8, 8, 1), weights, {}, {Isa::scalar, ""}), Error) << "too many weights";
}

}  // namespace
}  // namespace edgelane
