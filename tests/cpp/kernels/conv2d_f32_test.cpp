// Every float32 convolution kernel against the reference.
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <random>

#include "core/status.hpp"
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

KernelOptions forced(const KernelLine& line) {
  KernelOptions options;
  options.isa = line.isa;
  options.kernel = line.name;
  options.threads = 2;
  return options;
}

void compare(const KernelLine& line, const Conv2dCase& c, const Activation& activation, const KernelOptions& options,
             bool with_bias = true, Span<const float> slope = {}) {
  SCOPED_TRACE(std::string(line.name) + " on " + c.name);
  Conv2dProblem p = conv2d_problem(c);
  p.activation = activation;
  const Conv2dFloats t(c, p);
  const Span<const float> bias = with_bias ? Span<const float>(t.bias) : Span<const float>();
  const auto kernel = prepare_conv2d_f32(p, t.weights, bias, options, slope);
  EXPECT_EQ(kernel->info().kernel, line.name);
  EXPECT_EQ(kernel->info().isa, line.isa);

  const size_t elements = p.output.bytes(false) / sizeof(float);
  std::vector<float> expected(elements), magnitude(elements);
  reference_conv2d_f32(p, t.weights, bias, t.x.data(), t.residual.data(), expected.data(), magnitude.data(), slope);
  const std::vector<float> y = run_conv2d<float>(*kernel, t.x.data(), t.residual.data(), elements, 1);

  // A sum of K products of rounded terms is off by at most about K * eps times the sum of their magnitudes (Higham, 3.5); the
  // activations tested have a slope of at most 1.2 and an own error of a few eps.
  const float terms = static_cast<float>(c.channels / c.groups * c.kernel_h * c.kernel_w + 4);
  int wrong = 0;
  for (size_t i = 0; i < elements && wrong < 5; ++i) {
    const float tolerance = 1.2f * terms * FLT_EPSILON * magnitude[i] + 8 * FLT_EPSILON * std::fabs(expected[i]);
    if (!(std::fabs(y[i] - expected[i]) <= tolerance)) {
      ++wrong;
      ADD_FAILURE() << "element " << i << " is " << y[i] << ", expected " << expected[i] << " within " << tolerance;
    }
  }
  const std::vector<float> again = run_conv2d<float>(*kernel, t.x.data(), t.residual.data(), elements, 2);
  EXPECT_EQ(std::memcmp(y.data(), again.data(), elements * sizeof(float)), 0) << "two threads change the result";
}

class Conv2dF32 : public KernelTest<KernelLine> {};

TEST_P(Conv2dF32, EqualsTheReferenceOnHostileShapes) {
  for (const Conv2dCase& c : conv2d_cases()) compare(GetParam(), c, {ActivationKind::relu, 0, 0}, forced(GetParam()));
}

TEST_P(Conv2dF32, AppliesEveryKindOfEpilogue) {
  const Activation activations[] = {{ActivationKind::none, 0, 0},          {ActivationKind::clip, -0.5f, 1.5f},
                                    {ActivationKind::sigmoid, 0, 0},       {ActivationKind::hard_swish, 0, 0},
                                    {ActivationKind::leaky_relu, 0.1f, 0}, {ActivationKind::silu, 0, 0}};
  for (const Conv2dCase& c : epilogue_cases()) {
    for (const Activation& a : activations) compare(GetParam(), c, a, forced(GetParam()));
    compare(GetParam(), c, activations[0], forced(GetParam()), false);
    compare(GetParam(), c, {}, forced(GetParam()), true, some_slopes(c));
  }
}

TEST_P(Conv2dF32, EqualsTheReferenceHoweverItIsCut) {
  for_each_cut(forced(GetParam()), [&](const Conv2dCase& c, const KernelOptions& options) {
    compare(GetParam(), c, {ActivationKind::relu, 0, 0}, options);
    compare(GetParam(), c, {}, options, true, some_slopes(c));
  });
}

TEST_P(Conv2dF32, KeepsNaNInItsOwnPixels) {
  const Conv2dCase c = {"nan", 1, 4, 5, 6, 4, 1, 1, 1, 1, 1, 1, 1, {}, {}, {1, 1, 1, 1}, "dense", false};
  Conv2dProblem p = conv2d_problem(c);
  p.activation = {ActivationKind::relu, 0, 0};
  Conv2dFloats t(c, p);
  t.x[p.input.index(2, 3)] = NAN;
  const auto kernel = prepare_conv2d_f32(p, t.weights, t.bias, forced(GetParam()));
  const std::vector<float> y = run_conv2d<float>(*kernel, t.x.data(), nullptr, p.output.bytes(false) / sizeof(float), 1);
  for (int oc = 0; oc < c.oc; ++oc)
    for (int64_t i = 0; i < p.output.plane; ++i)
      EXPECT_EQ(std::isnan(y[oc * p.output.plane + i]), i == p.output.index(2, 3)) << "channel " << oc << ", element " << i;
}

std::vector<KernelLine> lines() {
  std::vector<KernelLine> found;
  for (const KernelLine& line : kLines)
    if (std::string(line.family) == "conv2d_f32") found.push_back(line);
  return found;
}

INSTANTIATE_TEST_SUITE_P(EveryKernel, Conv2dF32, testing::ValuesIn(lines()),
                         [](const testing::TestParamInfo<KernelLine>& info) { return std::string(info.param.name); });

// What an instruction set chooses for a layer.
KernelInfo chosen(const Conv2dCase& c, Isa isa) {
  const Conv2dProblem p = conv2d_problem(c);
  const Conv2dFloats t(c, p);
  KernelOptions options;
  options.isa = isa;
  return prepare_conv2d_f32(p, t.weights, t.bias, options)->info();
}

TEST(Conv2dF32Choice, ReportsWhatThePackingExecutes) {
  const Conv2dCase c = {"choice", 1, 64, 14, 14, 64, 3, 3, 1, 1, 1, 1, 1, {1, 1, 1, 1}, {}, {1, 1, 1, 1}, "4x1", false};
  const KernelInfo info = chosen(c, available_isas().back());
  EXPECT_EQ(info.format, "4x1");
  EXPECT_EQ(info.dense_macs, int64_t{64} * 64 * 9 * 14 * 14);
  EXPECT_NEAR(info.density, 0.3, 0.05);
  EXPECT_EQ(info.macs, std::llround(info.density * 64 * 64 * 9) * 14 * 14) << "4x1 blocks hold no zeros here";
}

TEST(Conv2dF32Choice, TakesWinogradWhereFewWeightsAreZero) {
  const Border one{1, 1, 1, 1};
  for (const char* pattern : {"dense", "4x1"})
    for (const Isa isa : available_isas()) {
      const KernelInfo info = chosen({"choice", 1, 64, 56, 56, 64, 3, 3, 1, 1, 1, 1, 1, one, {}, one, pattern, false}, isa);
      EXPECT_EQ(info.format, std::string(pattern) == "dense" ? "winograd" : "4x1") << isa_name(isa);
    }
}

TEST(Conv2dF32Choice, TakesSingleChannelsWhereZerosAreScattered) {
  const Border one{1, 1, 1, 1};
  for (const Isa isa : available_isas()) {
    const KernelInfo direct = chosen({"choice", 1, 64, 14, 14, 64, 1, 1, 1, 1, 1, 1, 1, {}, {}, one, "unstructured", false}, isa);
    EXPECT_EQ(direct.format, "unstructured") << isa_name(isa);
    EXPECT_EQ(direct.kernel.find("staged"), std::string::npos) << direct.kernel;
    const KernelInfo taps = chosen({"choice", 1, 64, 14, 14, 64, 3, 3, 2, 2, 1, 1, 1, one, {}, one, "unstructured", false}, isa);
    EXPECT_EQ(taps.format, "unstructured") << isa_name(isa);
    EXPECT_NE(taps.kernel.find("staged"), std::string::npos) << taps.kernel;
  }
}

TEST(Conv2dF32Choice, GoesDenseWhereNothingIsZero) {
  for (const Isa isa : available_isas()) {
    const KernelInfo info = chosen({"choice", 1, 64, 14, 14, 64, 1, 1, 1, 1, 1, 1, 1, {}, {}, {1, 1, 1, 1}, "dense", false}, isa);
    EXPECT_EQ(info.format, "dense") << isa_name(isa);
    EXPECT_EQ(info.macs, info.dense_macs) << isa_name(isa);
  }
}

TEST(Conv2dF32Errors, NameWhatIsWrong) {
  const Conv2dCase c = {"errors", 1, 4, 5, 5, 4, 3, 3, 1, 1, 1, 1, 1, {1, 1, 1, 1}, {}, {}, "dense", false};
  const Conv2dProblem good = conv2d_problem(c);
  const Conv2dFloats t(c, good);
  const auto message = [&](const Conv2dProblem& p, const KernelOptions& options, Span<const float> weights,
                           Span<const float> bias) -> std::string {
    try {
      prepare_conv2d_f32(p, weights, bias, options);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), StatusCode::invalid_argument);
      return e.what();
    }
    return "no error";
  };
  const KernelOptions any;
  KernelOptions unknown;
  unknown.kernel = "conv2d_f32_fast";
  EXPECT_NE(message(good, unknown, t.weights, t.bias).find("conv2d_f32_4x1_scalar"), std::string::npos);
  Conv2dProblem uncovered = good;
  uncovered.input = PlanarLayout(1, 4, 5, 5, {1, 1, 0, 1});
  EXPECT_NE(message(uncovered, any, t.weights, t.bias).find("does not cover"), std::string::npos);
  Conv2dProblem groups = good;
  groups.groups = 3;
  EXPECT_NE(message(groups, any, t.weights, t.bias).find("3 groups"), std::string::npos);
  const Span<const float> weights(t.weights);
  EXPECT_NE(message(good, any, weights.subspan(1, weights.size() - 1), t.bias).find("143 weights"), std::string::npos);
  EXPECT_NE(message(good, any, weights, weights.subspan(0, 3)).find("3 biases"), std::string::npos);
}

}  // namespace
}  // namespace edgelane
