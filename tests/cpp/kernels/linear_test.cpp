// Every linear kernel, float32 and int8, against the reference.
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <random>

#include "kernels/conv2d_support.hpp"
#include "kernels/kernel_list.hpp"
#include "kernels/linear/reference.hpp"

namespace edgelane {
namespace {

struct KernelLine {
  const char *family, *name;
  Isa isa;
};
constexpr KernelLine kLines[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa({#family, #name, Isa::isa}, )
#include "kernels/linear/kernels.inc"
#undef EDGELANE_KERNEL
};

struct LinearCase {
  const char* name;
  int m, ic, oc;
  const char* pattern;
};
const LinearCase kCases[] = {
    {"one_by_one", 1, 1, 1, "dense"},
    {"classifier", 1, 512, 10, "dense"},
    {"tile_minus_one", 5, 33, 63, "dense"},
    {"tile_exactly", 6, 64, 64, "dense"},
    {"tile_plus_one", 7, 65, 65, "unstructured"},
    {"prime_sizes", 13, 127, 131, "4x4"},
    {"many_rows", 199, 24, 20, "dense"},
    {"one_input", 3, 1, 50, "dense"},
    {"one_output", 3, 50, 1, "dense"},
    {"two_inputs", 2, 2, 9, "dense"},
    {"all_zero", 2, 16, 16, "zero"},
    {"sparse_classifier", 1, 256, 100, "4x4"},
    {"sparse_by_1x4", 2, 70, 37, "1x4"},
    {"sparse_by_4x1", 3, 41, 30, "4x1"},
};

class Linear : public testing::TestWithParam<KernelLine> {
 protected:
  void SetUp() override {
    if (!runs_here(GetParam().isa)) GTEST_SKIP() << "this CPU lacks " << isa_name(GetParam().isa);
  }
  KernelOptions forced() const {
    KernelOptions options;
    options.isa = GetParam().isa;
    options.kernel = GetParam().name;
    return options;
  }
};

void compare_f32(const KernelOptions& options, const LinearCase& c, const Activation& activation) {
  SCOPED_TRACE(options.kernel + " on " + c.name);
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> weights, bias;
  for (int o = 0; o < c.oc; ++o) {
    bias.push_back(uniform(random));
    for (int i = 0; i < c.ic; ++i) weights.push_back(keeps_weight(c.pattern, o, i, 0, 7) ? uniform(random) : 0.0f);
  }
  AlignedBuffer<float> x(static_cast<size_t>(c.m) * c.ic);
  for (size_t i = 0; i < x.size(); ++i) x[i] = uniform(random);
  const LinearProblem p{c.m, c.ic, c.oc, activation};
  const auto kernel = prepare_linear_f32(p, weights, bias, options);
  EXPECT_EQ(kernel->info().kernel, options.kernel);
  const size_t elements = static_cast<size_t>(c.m) * c.oc;
  std::vector<float> expected(elements), magnitude(elements);
  reference_linear_f32(p, weights, bias, x.data(), expected.data(), magnitude.data());
  const std::vector<float> y = run_conv2d<float>(*kernel, x.data(), nullptr, elements, 1);
  for (size_t i = 0; i < elements; ++i) {
    // As for conv2d: at most K * eps times the sum of the magnitudes, a slope of at most 1.2, some eps of the activation's own.
    const float tolerance =
        1.2f * static_cast<float>(c.ic + 4) * FLT_EPSILON * magnitude[i] + 8 * FLT_EPSILON * std::fabs(expected[i]);
    ASSERT_NEAR(y[i], expected[i], tolerance) << "element " << i;
  }
  const std::vector<float> again = run_conv2d<float>(*kernel, x.data(), nullptr, elements, 2);
  EXPECT_EQ(std::memcmp(y.data(), again.data(), elements * sizeof(float)), 0) << "two threads change the result";
}

void compare_s8(const KernelOptions& options, const LinearCase& c, const Activation& activation, bool float_output,
                int allowed_steps = 0) {
  SCOPED_TRACE(options.kernel + " on " + c.name);
  std::mt19937 random(3);
  std::uniform_int_distribution<int> any(-128, 127);
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> scales;
  for (int o = 0; o < c.oc; ++o) {
    bias.push_back(any(random) * 10);
    scales.push_back(0.01f + 0.0001f * static_cast<float>(any(random)) * 0.5f);
    for (int i = 0; i < c.ic; ++i) weights.push_back(static_cast<int8_t>(keeps_weight(c.pattern, o, i, 0, 7) ? any(random) : 0));
  }
  AlignedBuffer<uint8_t> x(static_cast<size_t>(c.m) * c.ic);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(any(random) + kActivationBias);
  Conv2dS8Params q;
  q.input = {0.05f, 11};
  q.weight_scales = scales;
  q.output = {0.1f * std::sqrt(static_cast<float>(c.ic)), -20};
  q.float_output = float_output;
  const LinearProblem p{c.m, c.ic, c.oc, activation};
  const auto kernel = prepare_linear_s8(p, q, weights, bias, options);
  EXPECT_EQ(kernel->info().kernel, options.kernel);
  const size_t bytes = static_cast<size_t>(c.m) * c.oc * (float_output ? 4 : 1);
  std::vector<uint8_t> expected(bytes);
  reference_linear_s8(p, q, weights, bias, x.data(), expected.data());
  const std::vector<uint8_t> y = run_conv2d<uint8_t>(*kernel, x.data(), nullptr, bytes, 1);
  for (size_t i = 0; i < bytes; ++i) ASSERT_LE(std::abs(y[i] - expected[i]), allowed_steps) << "byte " << i;
  EXPECT_EQ(run_conv2d<uint8_t>(*kernel, x.data(), nullptr, bytes, 2), y) << "two threads change the result";
}

TEST_P(Linear, EqualsTheReferenceOnHostileShapes) {
  for (const LinearCase& c : kCases) {
    if (std::string(GetParam().family) == "linear_f32") {
      compare_f32(forced(), c, {ActivationKind::none, 0, 0});
      compare_f32(forced(), c, {ActivationKind::relu, 0, 0});
      compare_f32(forced(), c, {ActivationKind::hard_swish, 0, 0});
    } else {
      for (bool float_output : {false, true}) {
        compare_s8(forced(), c, {ActivationKind::none, 0, 0}, float_output);
        compare_s8(forced(), c, {ActivationKind::clip, 0, 2}, float_output);
      }
      compare_s8(forced(), c, {ActivationKind::sigmoid, 0, 0}, false, 1);
    }
  }
}

// Stored values are 128 higher than real ones, so that their sum leaves int32 on the way to a real sum that does not.
TEST(LinearS8, LongSumsAreExact) {
  constexpr int kTerms = 70000;
  const std::vector<int8_t> weights(kTerms, -128);
  AlignedBuffer<uint8_t> x(kTerms);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 255;
  Conv2dS8Params q;
  const float scale[] = {1.0f};
  q.input = {1.0f, 0};
  q.weight_scales = scale;
  q.float_output = true;
  for (const KernelLine& line : kLines) {
    if (std::string(line.family) != "linear_s8" || !runs_here(line.isa)) continue;
    const auto kernel = prepare_linear_s8({1, kTerms, 1, {}}, q, weights, Span<const int32_t>(), {line.isa, line.name});
    EXPECT_EQ(run_conv2d<float>(*kernel, x.data(), nullptr, 1, 1)[0], 127.0f * -128.0f * kTerms) << line.name;
  }
}

#if defined(__x86_64__)
// One output channel takes a tile of 64: a small file must not make the packed weights larger than memory.
TEST(LinearLimits, PaddedWeightsAreBoundedBeforeTheyAreAllocated) {
  const std::vector<int8_t> weights((size_t{1} << 26) + 4);
  Conv2dS8Params q;
  const float scale[] = {1.0f};
  q.weight_scales = scale;
  const LinearProblem p{1, static_cast<int>(weights.size()), 1, {}};
  try {
    prepare_linear_s8(p, q, weights, Span<const int32_t>(), {Isa::avx512_vnni, ""});
    FAIL() << "4 GiB of padding were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("packed weights of at most"), std::string::npos) << error.what();
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(EveryKernel, Linear, testing::ValuesIn(kLines),
                         [](const testing::TestParamInfo<KernelLine>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace edgelane
