// Every int8 convolution kernel against the reference: equal bit for bit, on every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/conv2d/reference.hpp"
#include "kernels/conv2d_support.hpp"
#include "kernels/kernel_list.hpp"

namespace edgelane {
namespace {

struct KernelLine {
  const char *family, *name;
  Isa isa;
};
constexpr KernelLine kLines[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa({#family, #name, Isa::isa}, )
#include "kernels/conv2d/kernels.inc"
#undef EDGELANE_KERNEL
};

struct Quantisation {
  int input_zero, output_zero, residual_zero;
  bool intermediate, float_output;
};

struct Tensors {
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> weight_scales;
  AlignedBuffer<uint8_t> x, residual;
  Conv2dS8Params params;

  Tensors(const Conv2dCase& c, const Conv2dProblem& p, const Quantisation& q) {
    std::mt19937 random(1);
    std::uniform_int_distribution<int> any(-128, 127);
    std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
    for_each_weight(c, [&](size_t, bool kept) { weights.push_back(static_cast<int8_t>(kept ? any(random) : 0)); });
    for (int o = 0; o < c.oc; ++o) {
      bias.push_back(any(random) * 50);
      weight_scales.push_back(0.01f * uniform(random));
    }
    params.input = {0.05f, q.input_zero};
    params.residual = {0.3f, q.residual_zero};
    // So that some results saturate and most do not.
    const float terms = static_cast<float>(c.channels / c.groups * c.kernel_h * c.kernel_w);
    params.output = {0.05f * 0.01f * 128 * 128 / 128 * std::sqrt(terms) * 0.3f, q.output_zero};
    params.has_intermediate = q.intermediate;
    params.intermediate = {params.output.scale * 1.1f, 3};
    params.weight_scales = weight_scales;
    params.float_output = q.float_output;
    x = filled(p.input, q.input_zero, random);
    if (c.residual) residual = filled(p.residual, q.residual_zero, random);
  }

  static AlignedBuffer<uint8_t> filled(const PlanarLayout& layout, int zero, std::mt19937& random) {
    std::uniform_int_distribution<int> any(0, 255);
    AlignedBuffer<uint8_t> data(layout.bytes(true));
    std::memset(data.data(), zero + kActivationBias, data.size());
    const int groups = layout.groups(true);
    for (int n = 0; n < layout.batch; ++n)
      for (int channel = 0; channel < layout.channels; ++channel)
        for (int y = 0; y < layout.height; ++y)
          for (int x = 0; x < layout.width; ++x) {
            const int64_t plane = static_cast<int64_t>(n) * groups + channel / kChannelGroup;
            // Extremes more often than by chance.
            const int draw = any(random);
            data[(plane * layout.plane + layout.index(y, x)) * kChannelGroup + channel % kChannelGroup] =
                static_cast<uint8_t>(draw < 32    ? 0
                                     : draw > 224 ? 255
                                                  : draw);
          }
    return data;
  }
};

KernelOptions forced(const KernelLine& line) {
  KernelOptions options;
  options.isa = line.isa;
  options.kernel = line.name;
  return options;
}

// allowed_steps: 0, or 1 where the activation goes through an approximation of its own.
void compare(const KernelLine& line, const Conv2dCase& c, const Activation& activation, const Quantisation& q,
             const KernelOptions& options, int allowed_steps = 0, Span<const float> slope = {}) {
  SCOPED_TRACE(std::string(line.name) + " on " + c.name + ", activation " + activation_name(activation.kind));
  Conv2dProblem p = conv2d_problem(c);
  p.activation = activation;
  const Tensors t(c, p, q);
  const auto kernel = prepare_conv2d_s8(p, t.params, t.weights, t.bias, options, slope);
  EXPECT_EQ(kernel->info().kernel, line.name);
  EXPECT_EQ(kernel->info().isa, line.isa);

  const size_t bytes = p.output.bytes(!q.float_output);
  std::vector<uint8_t> expected(bytes);
  reference_conv2d_s8(p, t.params, t.weights, t.bias, t.x.data(), t.residual.data(), expected.data(), slope);
  const std::vector<uint8_t> y = run_conv2d<uint8_t>(*kernel, t.x.data(), t.residual.data(), bytes, 1);
  int wrong = 0;
  for (size_t i = 0; i < bytes && wrong < 5; ++i)
    if (std::abs(y[i] - expected[i]) > allowed_steps) {
      ++wrong;
      ADD_FAILURE() << "byte " << i << " is " << int{y[i]} << ", expected " << int{expected[i]};
    }
  EXPECT_EQ(run_conv2d<uint8_t>(*kernel, t.x.data(), t.residual.data(), bytes, 2), y) << "two threads change the result";
}

class Conv2dS8 : public KernelTest<KernelLine> {};

TEST_P(Conv2dS8, EqualsTheReferenceOnHostileShapes) {
  for (const Conv2dCase& c : conv2d_cases())
    compare(GetParam(), c, {ActivationKind::relu, 0, 0}, {-7, 5, 9, true, false}, forced(GetParam()));
}

TEST_P(Conv2dS8, EqualsTheReferenceSymmetrically) {
  for (const Conv2dCase& c : conv2d_cases())
    compare(GetParam(), c, {ActivationKind::none, 0, 0}, {0, 0, 0, false, false}, forced(GetParam()));
}

TEST_P(Conv2dS8, AppliesEveryKindOfEpilogue) {
  for (const Conv2dCase& c : epilogue_cases()) {
    for (int extreme : {-128, 127}) {
      compare(GetParam(), c, {ActivationKind::relu, 0, 0}, {extreme, extreme, extreme, false, false}, forced(GetParam()));
      compare(GetParam(), c, {ActivationKind::clip, -0.4f, 0.9f}, {extreme, 0, -extreme - 1, true, false}, forced(GetParam()));
    }
    for (bool intermediate : {false, true}) {
      compare(GetParam(), c, {ActivationKind::relu, 0, 0}, {3, 0, -4, intermediate, true}, forced(GetParam()));
      compare(GetParam(), c, {ActivationKind::clip, 0.5f, 6.0f}, {3, -128, -4, intermediate, false}, forced(GetParam()));
      compare(GetParam(), c, {ActivationKind::leaky_relu, 0.1f, 0}, {0, 1, 2, intermediate, false}, forced(GetParam()));
      for (bool float_output : {false, true})
        compare(GetParam(), c, {}, {4, 11, -2, intermediate, float_output}, forced(GetParam()), 0, some_slopes(c));
      compare(GetParam(), c, {ActivationKind::hard_swish, 0, 0}, {0, 1, 2, intermediate, false}, forced(GetParam()), 1);
      compare(GetParam(), c, {ActivationKind::sigmoid, 0, 0}, {0, 1, 2, intermediate, false}, forced(GetParam()), 1);
    }
  }
}

TEST_P(Conv2dS8, EqualsTheReferenceHoweverItIsCut) {
  for_each_cut(forced(GetParam()), [&](const Conv2dCase& c, const KernelOptions& options) {
    compare(GetParam(), c, {ActivationKind::relu, 0, 0}, {-7, 5, 9, false, false}, options);
  });
}

TEST_P(Conv2dS8, AccumulatesExtremesExactly) {
  const Conv2dCase c = {"extremes", 1, 512, 3, 3, 8, 3, 3, 1, 1, 1, 1, 1, {1, 1, 1, 1}, {}, {}, "dense", false};
  Conv2dProblem p = conv2d_problem(c);
  Tensors t(c, p, {0, 0, 0, false, true});
  for (int8_t weight : {int8_t{-128}, int8_t{127}})
    for (uint8_t stored : {uint8_t{0}, uint8_t{255}}) {
      std::fill(t.weights.begin(), t.weights.end(), weight);
      std::memset(t.x.data(), stored, t.x.size());
      std::fill(t.weight_scales.begin(), t.weight_scales.end(), 1.0f);
      t.params.input = {1.0f, 0};
      const auto kernel = prepare_conv2d_s8(p, t.params, t.weights, {}, forced(GetParam()));
      const std::vector<float> y = run_conv2d<float>(*kernel, t.x.data(), nullptr, p.output.bytes(false) / sizeof(float), 1);
      EXPECT_EQ(y[static_cast<size_t>(p.output.index(1, 1))], static_cast<float>(512 * 9 * weight * (stored - 128)));
    }
}

// Stored values are 128 larger than the real ones, so that their sum can leave int32 where the real one does not.
TEST_P(Conv2dS8, SumsThatLeaveInt32OnTheWayAreExact) {
  const Conv2dCase c = {"long", 1, 67000, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, {}, {}, {}, "dense", false};
  const Conv2dProblem p = conv2d_problem(c);
  Tensors t(c, p, {0, 0, 0, false, true});
  std::fill(t.weights.begin(), t.weights.end(), int8_t{127});
  std::memset(t.x.data(), 255, t.x.size());
  std::fill(t.weight_scales.begin(), t.weight_scales.end(), 1.0f);
  t.params.input = {1.0f, 0};
  const auto kernel = prepare_conv2d_s8(p, t.params, t.weights, {}, forced(GetParam()));
  const size_t elements = p.output.bytes(false) / sizeof(float);
  const std::vector<float> y = run_conv2d<float>(*kernel, t.x.data(), nullptr, elements, 1);
  std::vector<float> reference(elements);
  reference_conv2d_s8(p, t.params, t.weights, {}, t.x.data(), nullptr, reference.data());
  for (int oc = 0; oc < c.oc; ++oc) {
    const auto at = static_cast<size_t>(oc * p.output.plane + p.output.index(0, 0));
    EXPECT_EQ(y[at], 67000.0f * 127 * 127) << "channel " << oc;
    EXPECT_EQ(reference[at], 67000.0f * 127 * 127) << "channel " << oc;
  }
}

TEST_P(Conv2dS8, NanOfAnActivationIsAResult) {
  for (bool float_output : {true, false}) {
    const Conv2dCase c = {"roots", 1, 4, 1, 2, 4, 1, 1, 1, 1, 1, 1, 1, {}, {}, {}, "dense", false};
    Conv2dProblem p = conv2d_problem(c);
    p.activation = {ActivationKind::sqrt, 0, 0};
    Tensors t(c, p, {0, 12, 0, false, float_output});
    std::fill(t.weights.begin(), t.weights.end(), int8_t{-1});
    std::memset(t.x.data(), 1 + kActivationBias, t.x.size());  // the root of -4 steps
    const auto kernel = prepare_conv2d_s8(p, t.params, t.weights, {}, forced(GetParam()));
    const auto at = static_cast<size_t>(p.output.index(0, 1));
    if (float_output) {
      const std::vector<float> y = run_conv2d<float>(*kernel, t.x.data(), nullptr, p.output.bytes(false) / sizeof(float), 1);
      EXPECT_TRUE(std::isnan(y[at])) << y[at];
    } else {
      const std::vector<uint8_t> y = run_conv2d<uint8_t>(*kernel, t.x.data(), nullptr, p.output.bytes(true), 1);
      EXPECT_EQ(y[at * kChannelGroup], 12 + kActivationBias);
    }
  }
}

// Scales of a hostile file: the folded factors are infinite or 0, and an accumulator of 0 makes a NaN of them; or results are
// about as large as int32 can be (Requantize::bounded).
TEST_P(Conv2dS8, ScalesThatOverflowGiveTheSameEverywhere) {
  for (float scale : {1e30f, 1e-30f, 20.0f, 50.0f, 100.0f, 200.0f, 500.0f, 2000.0f}) {
    for (bool intermediate : {false, true}) {
      const Conv2dCase c = {"overflow", 1, 4, 3, 5, 6, 1, 1, 1, 1, 1, 1, 1, {}, {}, {}, "zero", true};
      const Conv2dProblem p = conv2d_problem(c);
      Tensors t(c, p, {0, 7, 0, intermediate, false});
      t.weights[0] = 1;
      std::fill(t.weight_scales.begin(), t.weight_scales.end(), scale);
      t.params.input.scale = t.params.residual.scale = scale;
      t.params.output.scale = t.params.intermediate.scale = 1.0f / scale;
      const auto kernel = prepare_conv2d_s8(p, t.params, t.weights, {}, forced(GetParam()));
      std::vector<uint8_t> expected(p.output.bytes(true));
      reference_conv2d_s8(p, t.params, t.weights, {}, t.x.data(), t.residual.data(), expected.data());
      EXPECT_EQ(run_conv2d<uint8_t>(*kernel, t.x.data(), t.residual.data(), expected.size(), 1), expected) << scale;
    }
  }
}

std::vector<KernelLine> lines() {
  std::vector<KernelLine> found;
  for (const KernelLine& line : kLines)
    if (std::string(line.family) == "conv2d_s8") found.push_back(line);
  return found;
}

INSTANTIATE_TEST_SUITE_P(EveryKernel, Conv2dS8, testing::ValuesIn(lines()),
                         [](const testing::TestParamInfo<KernelLine>& info) { return std::string(info.param.name); });

TEST(Conv2dS8Choice, TakesTheBlocksOfThePattern) {
  const Border one{1, 1, 1, 1};
  for (const char* pattern : {"dense", "1x4", "4x4"})
    for (const int kernel : {1, 3})
      for (const Isa isa : available_isas()) {
        const Border pad = kernel == 1 ? Border{} : one;
        const Conv2dCase c = {"choice", 1, 64, 14, 14, 64, kernel, kernel, 1, 1, 1, 1, 1, pad, {}, one, pattern, false};
        const Conv2dProblem p = conv2d_problem(c);
        const Tensors t(c, p, {});
        KernelOptions options;
        options.isa = isa;
        EXPECT_EQ(prepare_conv2d_s8(p, t.params, t.weights, t.bias, options)->info().format, pattern) << isa_name(isa);
      }
}

// The factors that reference and kernels share, against the arithmetic of export/FORMAT.md without any folding, in double.
TEST(Requantize, AgreesWithTheUnfoldedArithmetic) {
  std::mt19937 random(5);
  std::uniform_int_distribution<int> any(-128, 127), sum(-200000, 200000);
  int different = 0, count = 0;
  for (bool intermediate : {false, true})
    for (const Activation& activation : {Activation{ActivationKind::none, 0, 0}, Activation{ActivationKind::relu, 0, 0},
                                         Activation{ActivationKind::clip, -1.0f, 2.0f}, Activation{ActivationKind::sigmoid, 0, 0},
                                         Activation{ActivationKind::leaky_relu, 0.3f, 0}}) {
      Conv2dS8Params q;
      q.input = {0.021f, 4};
      const float weight_scale = 0.0037f;
      q.weight_scales = {&weight_scale, 1};
      q.output = {0.043f, -11};
      q.residual = {0.017f, 23};
      q.has_intermediate = intermediate;
      q.intermediate = {0.13f, -5};
      const int8_t weights[] = {1, -3};
      const int32_t bias[] = {77};
      const FoldedScales f = fold_scales(q, activation, channel_slopes(activation, {}, 1), true, 1, weights, bias);
      for (int i = 0; i < 20000; ++i, ++count) {
        const int acc = sum(random), stored_residual = any(random) + kActivationBias;
        // The folded bias holds the zero point's share of both weights.
        const int raw = acc + (4 + kActivationBias) * (1 - 3);
        double t = (acc + 77) * (0.021f * 0.0037f);
        if (intermediate) t = 0.13f * (std::fmax(-128.0, std::fmin(127.0, std::nearbyint(t / 0.13f) - 5)) + 5);
        t += 0.017f * (stored_residual - kActivationBias - 23);
        t = activate(static_cast<float>(t), activation);
        const int expected = static_cast<int>(std::fmax(-128.0, std::fmin(127.0, std::nearbyint(t / 0.043f) - 11)));
        const float slope = f.slope.empty() ? 1.0f : f.slope[0];
        const int got =
            requantize_stored(raw + f.bias[0], f.multiplier[0], slope, static_cast<uint8_t>(stored_residual), f.requantize) -
            kActivationBias;
        EXPECT_LE(std::abs(got - expected), intermediate ? 4 : 1);  // an intermediate step is worth three of the output's
        different += got != expected;
      }
    }
  EXPECT_LE(different, count / 1000);
}

}  // namespace
}  // namespace edgelane
