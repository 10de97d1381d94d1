#include "formats/activation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>

namespace edgelane {
namespace {

TEST(ActivationFormat, NamesAreUniqueAndKnown) {
  std::set<std::string> names;
  for (int i = 0; i < kActivationKinds; ++i) names.insert(activation_name(static_cast<ActivationKind>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kActivationKinds));
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_STREQ(activation_name(static_cast<ActivationKind>(kActivationKinds)), "unknown");
  EXPECT_STREQ(activation_name(ActivationKind::rsqrt), "rsqrt");
  EXPECT_STREQ(activation_name(ActivationKind::is_inf), "is_inf");
}

// Values worked out in double from the formulas of export/FORMAT.md.
TEST(ActivationFormat, Values) {
  const auto value = [](ActivationKind kind, float x, float alpha = 0, float beta = 0) {
    return activate(x, {kind, alpha, beta});
  };
  using K = ActivationKind;
  const double e = std::exp(1.0), log1pe = std::log(1.0 + e);
  EXPECT_EQ(value(K::none, -2), -2);
  EXPECT_EQ(value(K::relu, -2), 0);
  EXPECT_EQ(value(K::clip, 7, 0, 6), 6);
  EXPECT_EQ(value(K::leaky_relu, -2, 0.5f), -1);
  EXPECT_FLOAT_EQ(value(K::elu, -1, 2), static_cast<float>(2 * (1 / e - 1)));
  EXPECT_FLOAT_EQ(value(K::sigmoid, 1), static_cast<float>(e / (1 + e)));
  EXPECT_FLOAT_EQ(value(K::hard_sigmoid, 1, 0.2f, 0.5f), 0.7f);
  EXPECT_FLOAT_EQ(value(K::hard_swish, 1), 2.0f / 3.0f);
  EXPECT_FLOAT_EQ(value(K::silu, -1), static_cast<float>(-1 / (1 + e)));
  EXPECT_FLOAT_EQ(value(K::tanh, 1), static_cast<float>((e * e - 1) / (e * e + 1)));
  EXPECT_FLOAT_EQ(value(K::gelu, 1), 0.841344746f);
  EXPECT_FLOAT_EQ(value(K::mish, 1), static_cast<float>(std::tanh(log1pe)));
  EXPECT_FLOAT_EQ(value(K::softplus, 1), static_cast<float>(log1pe));
  EXPECT_FLOAT_EQ(value(K::softplus, 200), 200);
  EXPECT_FLOAT_EQ(value(K::exp, 1), static_cast<float>(e));
  EXPECT_EQ(value(K::sqrt, 9), 3);
  EXPECT_EQ(value(K::abs, -9), 9);
  EXPECT_EQ(value(K::neg, 9), -9);
  EXPECT_FLOAT_EQ(value(K::erf, 1), 0.842700793f);
  EXPECT_FLOAT_EQ(value(K::log, 2), 0.693147181f);
  EXPECT_NEAR(value(K::gelu_tanh, 1), 0.841191990, 1e-6);
  EXPECT_EQ(value(K::reciprocal, 4), 0.25f);
  EXPECT_EQ(value(K::floor, -1.5f), -2);
  EXPECT_EQ(value(K::ceil, -1.5f), -1);
  EXPECT_EQ(value(K::square, -3), 9);
  EXPECT_EQ(value(K::rsqrt, 4), 0.5f);
  EXPECT_EQ(value(K::round, 2.5f), 2);
  EXPECT_EQ(value(K::round, -3.5f), -4);
  EXPECT_EQ(value(K::sign, -0.25f), -1);
  EXPECT_EQ(value(K::sign, 0), 0);
  const double pi = 4 * std::atan(1.0);
  EXPECT_FLOAT_EQ(value(K::sin, static_cast<float>(pi / 6)), 0.5f);
  EXPECT_FLOAT_EQ(value(K::cos, static_cast<float>(pi / 3)), 0.5f);
  EXPECT_FLOAT_EQ(value(K::tan, static_cast<float>(pi / 4)), 1);
  EXPECT_FLOAT_EQ(value(K::asin, 0.5f), static_cast<float>(pi / 6));
  EXPECT_FLOAT_EQ(value(K::acos, 0.5f), static_cast<float>(pi / 3));
  EXPECT_FLOAT_EQ(value(K::atan, -1), static_cast<float>(-pi / 4));
  EXPECT_FLOAT_EQ(value(K::sinh, 1), static_cast<float>((e - 1 / e) / 2));
  EXPECT_FLOAT_EQ(value(K::cosh, 1), static_cast<float>((e + 1 / e) / 2));
  EXPECT_FLOAT_EQ(value(K::asinh, 1), static_cast<float>(std::log(1 + std::sqrt(2.0))));
  EXPECT_FLOAT_EQ(value(K::acosh, 2), static_cast<float>(std::log(2 + std::sqrt(3.0))));
  EXPECT_FLOAT_EQ(value(K::atanh, 0.5f), static_cast<float>(std::log(3.0) / 2));
}

TEST(ActivationFormat, NanPassesThrough) {
  for (int i = 0; i < kActivationKinds; ++i) {
    const Activation a{static_cast<ActivationKind>(i), -1.0f, 1.0f};
    EXPECT_TRUE(std::isnan(activate(std::numeric_limits<float>::quiet_NaN(), a))) << activation_name(a.kind);
  }
}

}  // namespace
}  // namespace edgelane
