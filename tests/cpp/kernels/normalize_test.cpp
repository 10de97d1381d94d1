#include "kernels/normalize/normalize.hpp"

#include "kernels/normalize/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

struct Weights {
  std::vector<float> scale, bias;
};

// Values in [-2, 2].
Weights random_weights(size_t count, bool scaled, bool biased) {
  std::mt19937 random(9);
  std::uniform_real_distribution<float> uniform(-2.0f, 2.0f);
  Weights w;
  for (size_t i = 0; i < count; ++i) {
    if (scaled) w.scale.push_back(uniform(random));
    if (biased) w.bias.push_back(uniform(random));
  }
  return w;
}

// The bound of normalize.hpp; a scale of at most 2, and the roundings of scale, bias and result.
constexpr float kUnit = 1.0f / (1 << 24);
constexpr Tolerance kTolerance{2 * 46 * kUnit, 2 * (72 + 46 * 2) * kUnit};

void check_normalize(const Data& x, const TensorDesc& y, int axis, bool mean_square, const Weights& w, const std::string& what,
                     Tolerance tolerance = kTolerance) {
  const NormalizeProblem p{x.desc, y, axis, mean_square, 1e-5f};
  Data expected(y);
  reference::normalize(p, w.scale, w.bias, x.floats(), expected.floats());
  check_step("normalize", "normalize_f32", {&x}, expected, tolerance, what,
             [&](const KernelOptions& o) { return prepare_normalize(p, w.scale, w.bias, o); });
}

size_t count_from(const std::vector<int>& dims, int axis) {
  size_t count = 1;
  for (size_t a = static_cast<size_t>(axis); a < dims.size(); ++a) count *= static_cast<size_t>(dims[a]);
  return count;
}

TEST(Normalize, EveryAxisOfEveryLayout) {
  const std::vector<std::vector<int>> shapes = {{1},           {1000},        {1025},        {3, 17},          {2, 5, 96},
                                                {1, 1, 1, 1},  {2, 3, 5, 15}, {1, 9, 3, 64}, {2, 2, 3, 2, 33}, {1, 2, 1, 1031},
                                                {1, 7, 1, 33}, {2, 2, 80, 1}};
  for (const std::vector<int>& shape : shapes) {
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
      const std::string what = "axis " + std::to_string(axis) + " of " + std::to_string(shape.size());
      const Weights w = random_weights(count_from(shape, axis), true, true);
      for (const Border border : {Border{}, Border{1, 0, 0, 2}, kDense}) {
        const Data x = random_data(f32(shape, border), axis);
        check_normalize(x, f32(shape, border), axis, false, w, what);
        check_normalize(x, f32(shape, {0, 1, 2, 1}), axis, true, w, what + ", mean square");
      }
    }
  }
}

TEST(Normalize, ScaleAndBiasAreOptional) {
  for (const std::vector<int>& shape : {std::vector<int>{3, 19}, std::vector<int>{2, 1500}}) {
    const Data x = random_data(f32(shape), 3);
    for (const bool scaled : {false, true}) {
      for (const bool biased : {false, true}) {
        check_normalize(x, f32(shape), 1, false, random_weights(count_from(shape, 1), scaled, biased), "optional weights");
      }
    }
  }
}

// Elements near 1000 with a deviation of 1, and near 1 million with one of 300: the error must not grow with the mean.
TEST(Normalize, LargeMeansCostNoAccuracy) {
  for (const auto& [mean, deviation] : {std::pair<float, float>{1000, 1}, {-1e6f, 300}}) {
    for (const int n : {7, 96, 768, 50000}) {
      Data x(f32({2, n}));
      std::mt19937 random(5);
      std::normal_distribution<float> normal(mean, deviation);
      for (int i = 0; i < 2 * n; ++i) x.floats()[i] = normal(random);
      check_normalize(x, x.desc, 1, false, {}, "mean " + std::to_string(mean) + ", " + std::to_string(n) + " elements");
    }
  }
}

// A row of equal elements has no variance: what is left is the bias.
TEST(Normalize, ConstantRowsGiveTheBias) {
  for (const int n : {5, 100, 3000}) {
    Data x(f32({2, n}));
    for (int i = 0; i < 2 * n; ++i) x.floats()[i] = 123.456f;
    const Weights w = random_weights(static_cast<size_t>(n), false, true);
    // The mean itself is a float: half a step of 123, divided by the square root of epsilon.
    check_normalize(x, x.desc, 1, false, w, "constant", {0.0f, 123.456f * kUnit / std::sqrt(1e-5f)});
  }
}

TEST(Normalize, LongGroupsOfFewAndOfManyGiveTheSameBitsOnAnyNumberOfThreads) {
  for (const std::vector<int>& shape : {std::vector<int>{1, 300000}, {40, 3000}, {1, 3, 150, 151}}) {
    const TensorDesc desc = f32(shape, {0, 1, 1, 1});
    const Data x = random_data(desc, 4);
    const int axis = shape.size() == 4 ? 2 : 1;
    const auto kernel = prepare_normalize({desc, desc, axis, false, 1e-5f}, Span<const float>(), Span<const float>(),
                                          {available_isas().back(), ""});
    const Data one = run_step(*kernel, {&x}, desc, 1);
    for (const int threads : {2, 5}) {
      const Data more = run_step(*kernel, {&x}, desc, threads);
      EXPECT_EQ(std::memcmp(one.bytes.data(), more.bytes.data(), one.bytes.size()), 0) << shape.size() << ", " << threads;
    }
  }
}

TEST(Normalize, NanSpoilsItsOwnGroupAlone) {
  for (const int n : {50, 2000}) {
    Data x = random_data(f32({3, n}), 4);
    set_element(&x, n + 20, std::nanf(""));
    for (const KernelOptions& options : runnable("normalize", "normalize_f32")) {
      for (const bool mean_square : {false, true}) {
        const Data y = run_step(
            *prepare_normalize({x.desc, x.desc, 1, mean_square, 1e-5f}, Span<const float>(), Span<const float>(), options), {&x},
            x.desc, 1);
        for (int i = 0; i < 3 * n; ++i) ASSERT_EQ(std::isnan(y.floats()[i]), i / n == 1) << options.kernel << ", element " << i;
      }
    }
  }
}

TEST(Normalize, RefusesWhatDoesNotFit) {
  const std::vector<float> three(3, 1.0f), none;
  const TensorDesc x = f32({2, 4});
  EXPECT_THROW(prepare_normalize({x, x, 1, false, 0}, three, none, {}), Error);
  EXPECT_THROW(prepare_normalize({x, x, 1, false, 0}, none, three, {}), Error);
  EXPECT_THROW(prepare_normalize({x, x, 2, false, 0}, none, none, {}), Error);
  EXPECT_THROW(prepare_normalize({x, f32({4, 2}), 1, false, 0}, none, none, {}), Error);
}

}  // namespace
}  // namespace edgelane
