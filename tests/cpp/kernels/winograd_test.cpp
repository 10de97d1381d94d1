// Every Winograd kernel against conv2d's reference, within a bound of its own rounding errors.
#include "kernels/winograd/winograd.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <random>

#include "core/status.hpp"
#include "kernels/conv2d/reference.hpp"
#include "kernels/conv2d_support.hpp"
#include "kernels/registry.hpp"

namespace edgelane {
namespace {

// The matrices of F(4x4, 3x3) for the points 0, a, -a, b, -b and infinity, by magnitude, with a = sqrt(1/2) and b = sqrt(2).
constexpr double kA = 0.70710678118654752440, kB = 1.41421356237309504880;
using Row6 = std::array<double, 6>;
constexpr std::array<Row6, 6> kInput = {{{1, 0, 2.5, 0, 1, 0},
                                         {0, 2 * kA, 2, kA, 1, 0},
                                         {0, 2 * kA, 2, kA, 1, 0},
                                         {0, kB / 2, 0.5, kB, 1, 0},
                                         {0, kB / 2, 0.5, kB, 1, 0},
                                         {0, 1, 0, 2.5, 0, 1}}};
constexpr std::array<std::array<double, 3>, 6> kWeights = {{{1, 0, 0},
                                                            {1 / 1.5, kA / 1.5, 0.5 / 1.5},
                                                            {1 / 1.5, kA / 1.5, 0.5 / 1.5},
                                                            {1 / 6.0, kB / 6.0, 2 / 6.0},
                                                            {1 / 6.0, kB / 6.0, 2 / 6.0},
                                                            {0, 0, 1}}};
constexpr std::array<Row6, 4> kOutput = {
    {{1, 1, 1, 1, 1, 0}, {0, kA, kA, kB, kB, 0}, {0, 0.5, 0.5, 2, 2, 0}, {0, kA / 2, kA / 2, 2 * kB, 2 * kB, 1}}};

struct Line {
  const char* name;
  Isa isa;
};

std::vector<Line> lines() {
  std::vector<Line> found;
  for (const KernelEntry& entry : all_kernels())
    if (std::string(entry.family) == "winograd") found.push_back({entry.name, entry.isa});
  return found;
}

// For every pixel of output channel `oc` of an image, what its error is a small multiple of: the sum of the magnitudes of all
// terms that its tile's transforms and products add up.
std::vector<double> tile_magnitudes(const Conv2dProblem& p, const Conv2dFloats& t, int image, int oc) {
  std::vector<double> result(static_cast<size_t>(p.output.height) * p.output.width);
  const int ic = p.input.channels;
  for (int y0 = 0; y0 < p.output.height; y0 += 4)
    for (int x0 = 0; x0 < p.output.width; x0 += 4) {
      double sums[6][6] = {};
      for (int c = 0; c < ic; ++c) {
        const float* plane = t.x.data() + (int64_t{image} * ic + c) * p.input.plane;
        const float* g = t.weights.data() + (static_cast<size_t>(oc) * ic + c) * 9;
        for (int i = 0; i < 6; ++i)
          for (int j = 0; j < 6; ++j) {
            double value = 0, weight = 0;
            for (int r = 0; r < 6; ++r)
              for (int s = 0; s < 6; ++s)
                if (y0 + r < p.output.height + 2 && x0 + s < p.output.width + 2)
                  value += kInput[i][r] * kInput[j][s] * std::fabs(plane[p.input.index(y0 + r - p.pad_top, x0 + s - p.pad_left)]);
            for (int r = 0; r < 3; ++r)
              for (int s = 0; s < 3; ++s) weight += kWeights[i][r] * kWeights[j][s] * std::fabs(g[r * 3 + s]);
            sums[i][j] += value * weight;
          }
      }
      for (int r = 0; r < 4 && y0 + r < p.output.height; ++r)
        for (int s = 0; s < 4 && x0 + s < p.output.width; ++s) {
          double sum = 0;
          for (int i = 0; i < 6; ++i)
            for (int j = 0; j < 6; ++j) sum += kOutput[r][i] * kOutput[s][j] * sums[i][j];
          result[static_cast<size_t>(y0 + r) * p.output.width + x0 + s] = sum;
        }
    }
  return result;
}

KernelOptions forced(const Line& line) { return {line.isa, line.name}; }

void compare(const Line& line, const Conv2dCase& c, const Activation& activation, bool with_bias = true,
             Span<const float> slope = {}) {
  SCOPED_TRACE(std::string(line.name) + " on " + c.name);
  Conv2dProblem p = conv2d_problem(c);
  p.activation = activation;
  ASSERT_TRUE(is_winograd(p));
  const Conv2dFloats t(c, p);
  const Span<const float> bias = with_bias ? Span<const float>(t.bias) : Span<const float>();
  const auto kernel = prepare_winograd_f32(p, t.weights, bias, forced(line), slope);
  EXPECT_EQ(kernel->info().kernel, line.name);
  EXPECT_EQ(kernel->info().isa, line.isa);

  const size_t elements = p.output.bytes(false) / sizeof(float);
  std::vector<float> expected(elements), magnitude(elements);
  reference_conv2d_f32(p, t.weights, bias, t.x.data(), t.residual.data(), expected.data(), magnitude.data(), slope);
  const std::vector<float> y = run_conv2d<float>(*kernel, t.x.data(), t.residual.data(), elements, 1);

  // Each term passes at most 9 roundings of the input's transform, 1 of the weight's, ic of the products and 12 of the output's
  // (Higham, 3.5, as for conv2d); the activations tested have a slope of at most 1.2 and an own error of a few eps.
  const double roundings = c.channels + 26;
  int wrong = 0;
  for (int image = 0; image < c.batch; ++image)
    for (int oc = 0; oc < c.oc; ++oc) {
      const std::vector<double> own = tile_magnitudes(p, t, image, oc);
      const int64_t plane = (int64_t{image} * c.oc + oc) * p.output.plane;
      std::vector<bool> pixel(static_cast<size_t>(p.output.plane));
      for (int i = 0; i < p.output.height; ++i)
        for (int j = 0; j < p.output.width && wrong < 5; ++j) {
          const auto at = static_cast<size_t>(plane + p.output.index(i, j));
          pixel[static_cast<size_t>(p.output.index(i, j))] = true;
          const double tolerance =
              1.2 * roundings * FLT_EPSILON * (own[static_cast<size_t>(i) * p.output.width + j] + magnitude[at]) +
              8 * FLT_EPSILON * std::fabs(expected[at]);
          if (std::fabs(y[at] - expected[at]) <= tolerance) continue;
          ++wrong;
          ADD_FAILURE() << "pixel " << i << ", " << j << " of channel " << oc << " is " << y[at] << ", expected " << expected[at]
                        << " within " << tolerance;
        }
      for (size_t i = 0; i < pixel.size() && wrong < 5; ++i)
        if (!pixel[i] && y[static_cast<size_t>(plane) + i] != 0) {
          ++wrong;
          ADD_FAILURE() << "border element " << i << " of channel " << oc << " is " << y[static_cast<size_t>(plane) + i];
        }
    }
  const std::vector<float> again = run_conv2d<float>(*kernel, t.x.data(), t.residual.data(), elements, 3);
  EXPECT_EQ(std::memcmp(y.data(), again.data(), elements * sizeof(float)), 0) << "three threads change the result";
}

class Winograd : public KernelTest<Line> {};

std::vector<Conv2dCase> winograd_cases() {
  const Border no{}, one{1, 1, 1, 1}, two{2, 2, 2, 2}, odd{0, 2, 3, 1};
  std::vector<Conv2dCase> cases = {
      // name, n, c, h, w, oc, k, stride, dilation, groups, pads, more, output, pattern, residual
      {"one_output", 1, 3, 3, 3, 5, 3, 3, 1, 1, 1, 1, 1, no, no, one, "dense", true},
      {"one_tile", 1, 5, 4, 4, 9, 3, 3, 1, 1, 1, 1, 1, one, no, no, "dense", true},
      {"one_row_of_tiles", 1, 4, 3, 150, 6, 3, 3, 1, 1, 1, 1, 1, one, no, one, "dense", false},
      {"one_column_of_tiles", 1, 4, 150, 2, 6, 3, 3, 1, 1, 1, 1, 1, one, no, one, "dense", true},
      {"rows_across_vectors", 2, 6, 28, 28, 10, 3, 3, 1, 1, 1, 1, 1, one, no, one, "dense", true},
      {"a_row_past_the_tiles", 1, 6, 13, 17, 8, 3, 3, 1, 1, 1, 1, 1, one, two, odd, "dense", true},
      {"padding_on_two_sides", 1, 6, 9, 10, 8, 3, 3, 1, 1, 1, 1, 1, {0, 2, 2, 0}, no, one, "dense", false},
      {"many_blocks_of_tiles", 1, 340, 21, 40, 11, 3, 3, 1, 1, 1, 1, 1, one, no, one, "dense", false},
  };
  for (const Conv2dCase& c : conv2d_cases())
    if (is_winograd(conv2d_problem(c))) cases.push_back(c);
  return cases;
}

TEST_P(Winograd, EqualsTheReferenceOnHostileShapes) {
  for (const Conv2dCase& c : winograd_cases()) compare(GetParam(), c, {ActivationKind::relu, 0, 0});
}

TEST_P(Winograd, AppliesEveryKindOfEpilogue) {
  const Conv2dCase c = {"epilogues", 1, 6, 13, 17, 9, 3, 3, 1, 1, 1, 1, 1, {1, 1, 1, 1}, {}, {1, 1, 1, 1}, "dense", true};
  for (const Activation& a : {Activation{ActivationKind::none, 0, 0}, Activation{ActivationKind::clip, -0.5f, 1.5f},
                              Activation{ActivationKind::sigmoid, 0, 0}, Activation{ActivationKind::hard_swish, 0, 0},
                              Activation{ActivationKind::leaky_relu, 0.1f, 0}, Activation{ActivationKind::silu, 0, 0}})
    compare(GetParam(), c, a);
  compare(GetParam(), c, {ActivationKind::none, 0, 0}, false);
  compare(GetParam(), c, {}, true, some_slopes(c));
}

// The runtime promises 1e-4 of the largest output for whole networks. Inputs as behind a ReLU, where errors do not cancel.
TEST_P(Winograd, StaysFarWithinTheTolerance) {
  const Conv2dCase c = {"layer", 1, 256, 14, 14, 16, 3, 3, 1, 1, 1, 1, 1, {1, 1, 1, 1}, {}, {}, "dense", false};
  const Conv2dProblem p = conv2d_problem(c);
  const Conv2dFloats t(c, p, 0.0f);
  const size_t elements = p.output.bytes(false) / sizeof(float);
  std::vector<float> expected(elements), magnitude(elements);
  reference_conv2d_f32(p, t.weights, t.bias, t.x.data(), nullptr, expected.data(), magnitude.data());
  const std::vector<float> y =
      run_conv2d<float>(*prepare_winograd_f32(p, t.weights, t.bias, forced(GetParam())), t.x.data(), nullptr, elements, 1);
  float largest = 0, error = 0;
  for (size_t i = 0; i < elements; ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    error = std::max(error, std::fabs(y[i] - expected[i]));
  }
  EXPECT_LE(error, 1e-5f * largest);
}

INSTANTIATE_TEST_SUITE_P(EveryKernel, Winograd, testing::ValuesIn(lines()),
                         [](const testing::TestParamInfo<Line>& info) { return std::string(info.param.name); });

TEST(WinogradErrors, NameWhatIsWrong) {
  const Border one{1, 1, 1, 1};
  const Conv2dProblem p = conv2d_problem({"errors", 1, 4, 5, 5, 4, 3, 3, 1, 1, 1, 1, 1, one, {}, {}, "dense", false});
  const std::vector<float> weights(4 * 4 * 9), few(7), bias(3);
  const auto message = [](const Conv2dProblem& problem, Span<const float> w, Span<const float> b) -> std::string {
    try {
      prepare_winograd_f32(problem, w, b, {});
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(p, weights, {}), "");
  EXPECT_EQ(message(p, few, {}), "winograd_f32: 7 weights do not fit 4 x 4 x 9");
  EXPECT_EQ(message(p, weights, bias), "winograd_f32: 3 biases for 4 output channels");
  Conv2dProblem strided = p;
  strided.stride_h = 2;
  strided.output = PlanarLayout(1, 4, 3, 5);
  EXPECT_EQ(message(strided, weights, {}), "winograd_f32: the convolution is not 3x3 with stride 1, without dilation and groups");
}

}  // namespace
}  // namespace edgelane
