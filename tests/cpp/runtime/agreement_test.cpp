// The rule of golden frames: every dtype by every rule, just inside and just outside of its bound; and the self-test that asks
// it.
#include "runtime/agreement.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/every_op.hpp"

namespace edgelane {
namespace {

using namespace testing;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

template <class T>
GoldenRow compare(DType dtype, GoldenRule rule, const std::vector<T>& expected, const std::vector<T>& found) {
  TensorSpec spec;
  spec.name = "y";
  spec.dtype = dtype;
  spec.shape = {2, static_cast<int64_t>(expected.size() / 2)};
  spec.bytes = expected.size() * sizeof(T);
  spec.quantized = dtype == DType::int8;
  spec.quant.scale = 0.5f;
  spec.quant.zero_point = 1;
  const auto bytes = [](const std::vector<T>& v) { return reinterpret_cast<const uint8_t*>(v.data()); };
  const GoldenRow row = compare_output(spec, rule, bytes(expected), bytes(found));
  EXPECT_EQ(row.output, "y");
  EXPECT_EQ(row.agrees, row.message.empty()) << row.message;
  EXPECT_EQ(row.message.find('\n'), std::string::npos);
  return row;
}

// `count` elements of `value`, of which the last `differing` are changed by `by`.
template <class T>
std::vector<T> changed(size_t count, T value, size_t differing, T by) {
  std::vector<T> v(count, value);
  for (size_t i = count - differing; i < count; ++i) v[i] = static_cast<T>(v[i] + by);
  return v;
}

TEST(Agreement, FloatsMayDifferByTheirLargestMagnitude) {
  const std::vector<float> expected = {0.0f, 1.0f, -8.0f, 2.0f};
  for (const GoldenRule rule : {GoldenRule::same, GoldenRule::close}) {
    EXPECT_TRUE(compare(DType::float32, rule, expected, expected).agrees);
    EXPECT_TRUE(compare<float>(DType::float32, rule, expected, {7.9e-4f, 1.0f, -8.0f, 2.0f}).agrees);
    const GoldenRow row = compare<float>(DType::float32, rule, expected, {0.0f, 1.0f, -8.0f, 2.25f});
    EXPECT_FALSE(row.agrees);
    EXPECT_DOUBLE_EQ(row.error, 0.25 / 8);
    EXPECT_EQ(row.message, "output \"y\" differs most, by 0.25, at [1, 1]: expected 2, found 2.25; allowed 0.0008");
    EXPECT_TRUE(compare<float>(DType::float32, rule, {0.0f, 0.0f}, {0.9e-4f, 0.0f}).agrees);
    EXPECT_FALSE(compare<float>(DType::float32, rule, {0.0f, 0.0f}, {1.1e-4f, 0.0f}).agrees);
  }
}

TEST(Agreement, OutputsWithoutElementsAgree) {
  for (const GoldenRule rule : {GoldenRule::same, GoldenRule::close, GoldenRule::rounded}) {
    EXPECT_TRUE(compare<float>(DType::float32, rule, {}, {}).agrees);
    EXPECT_TRUE(compare<int64_t>(DType::int64, rule, {}, {}).agrees);
  }
}

TEST(Agreement, NanAndInfinityAgreeWithThemselvesOnly) {
  const std::vector<float> finite = {1.0f, 1.0f}, nan = {kNan, 1.0f}, infinite = {kInfinity, 1.0f}, negative = {-kInfinity, 1.0f};
  for (const GoldenRule rule : {GoldenRule::same, GoldenRule::close, GoldenRule::rounded}) {
    for (const auto& a : {finite, nan, infinite, negative}) {
      for (const auto& b : {finite, nan, infinite, negative}) {
        const GoldenRow row = compare(DType::float32, rule, a, b);
        EXPECT_EQ(row.agrees, &a == &b || std::memcmp(a.data(), b.data(), 8) == 0) << a[0] << ' ' << b[0];
        EXPECT_EQ(std::isinf(row.error), !row.agrees);
      }
    }
  }
}

TEST(Agreement, ValuesThatWereRoundedMayDifferByAShareOfTheirNorm) {
  const std::vector<float> expected(100, 1.0f);
  EXPECT_TRUE(compare(DType::float32, GoldenRule::rounded, expected, changed(100, 1.0f, 3, 1.0f)).agrees);
  const GoldenRow row = compare(DType::float32, GoldenRule::rounded, expected, changed(100, 1.0f, 9, -1.0f));
  EXPECT_FALSE(row.agrees);
  EXPECT_EQ(row.message, "output \"y\" differs by 0.3 of the expected norm, most at [1, 41]: expected 1, found 0; allowed 0.2");
  EXPECT_FALSE(compare<float>(DType::float32, GoldenRule::rounded, {0.0f, 0.0f}, {0.0f, 1e-9f}).agrees);

  const std::vector<int8_t> levels(100, 5);  // each stands for 2; a level is 0.5, so all of them off by one are 0.25
  EXPECT_TRUE(compare(DType::int8, GoldenRule::rounded, levels, changed<int8_t>(100, 5, 60, 1)).agrees);
  const GoldenRow off = compare(DType::int8, GoldenRule::rounded, levels, changed<int8_t>(100, 5, 100, 1));
  EXPECT_FALSE(off.agrees);
  EXPECT_DOUBLE_EQ(off.error, 0.25);
}

// Of 2000 elements 2 may differ where a float32 decided them, 400 where such floats were rounded to int8 before.
template <class T>
void expect_shares(DType dtype, T value, T by) {
  const std::vector<T> expected(2000, value);
  const auto agrees = [&](GoldenRule rule, size_t differing) {
    return compare(dtype, rule, expected, changed(2000, value, differing, by)).agrees;
  };
  EXPECT_TRUE(agrees(GoldenRule::same, 0));
  EXPECT_FALSE(agrees(GoldenRule::same, 1));
  EXPECT_TRUE(agrees(GoldenRule::close, 2));
  EXPECT_FALSE(agrees(GoldenRule::close, 3));
  if (dtype != DType::int8) {
    EXPECT_TRUE(agrees(GoldenRule::rounded, 400));
    EXPECT_FALSE(agrees(GoldenRule::rounded, 401));
  }
}

TEST(Agreement, IntegersAndTruthValuesMayDifferByTheShareOfTheRule) {
  expect_shares<int8_t>(DType::int8, 3, -1);
  expect_shares<uint8_t>(DType::uint8, 200, 55);
  expect_shares<uint8_t>(DType::boolean, 0, 1);
  expect_shares<int32_t>(DType::int32, -7, 1);
  expect_shares<int64_t>(DType::int64, int64_t{1} << 62, 1);  // a step that a double does not know
}

TEST(Agreement, ASmallIntegerOutputIsExact) {
  for (const GoldenRule rule : {GoldenRule::same, GoldenRule::close, GoldenRule::rounded}) {
    const GoldenRow row = compare<int64_t>(DType::int64, rule, {3, 9007199254740993}, {3, 9007199254740994});
    EXPECT_FALSE(row.agrees);
    EXPECT_EQ(row.message,
              "output \"y\" differs in 1 of 2 elements, first at [1, 0]: expected 9007199254740993, found 9007199254740994; "
              "allowed 0");
  }
}

// ---- self-tests ----

// Outputs of float32 sums, of int8 arithmetic and of integers that are only moved: no instruction set may differ in the last two.
LaneWriter writer_of_three_dtypes() {
  LaneWriter w;
  Numbers r(5);
  const uint32_t x = w.input("x", DType::float32, {1, 8, 6, 6}), q = w.input("q", DType::int8, {1, 8, 6, 6}, 0.1f, 3);
  const uint32_t ids = w.input("ids", DType::int64, {5});
  const uint32_t y = w.output("y", DType::float32, {1, 16, 6, 6}), z = w.output("z", DType::int8, {1, 16, 6, 6}, 0.7f, -4);
  const uint32_t moved = w.output("moved ids", DType::int64, {1, 5});
  const auto same = ints(AttributeKey::pads, {1, 1, 1, 1});
  w.step("float conv", Op::conv2d, {x, w.constant("w", {16, 8, 3, 3}, r.floats(16 * 8 * 9))}, y, {same});
  w.step("int8 conv", Op::conv2d, {q, w.constant("w8", {16, 8, 3, 3}, r.integers<int8_t>(16 * 8 * 9, 127), r.scales(16))}, z,
         {same});
  w.step("reshape", Op::reshape, {ids}, moved);
  return w;
}

TEST(Session, SelfTestOnEveryInstructionSet) {
  LaneWriter right = writer_of_three_dtypes();
  RunnableSession reference(load(right, 1, "scalar"));
  ASSERT_EQ(reference.run(), StatusCode::ok);
  const auto add_frame = [&](LaneWriter& w, size_t altered) {
    uint32_t tensor = 0;
    for (const std::vector<uint8_t>& input : reference.input_arrays) w.golden_value(tensor++, input);
    for (size_t i = 0; i < reference.output_arrays.size(); ++i) {
      std::vector<uint8_t> output = reference.output_arrays[i];
      if (i == altered) output.back() ^= 0x40;  // the exponent of a float32, half of an int8's range
      w.golden_value(tensor++, output);
    }
  };
  SessionOptions options;
  options.self_test = true;
  const auto error_of = [&](const LaneWriter& w) {
    try {
      Session::load(w.file(), "test.lane", options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::self_test_failed);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(error_of(right).find("test.lane: self-test failed: expected a golden frame, found none"), std::string::npos);
  const LaneWriter without = right;
  add_frame(right, SIZE_MAX);
  for (const Isa isa : available_isas()) {
    options.isa = isa_name(isa);
    EXPECT_EQ(error_of(right), "") << options.isa;
    for (size_t i = 0; i < reference.output_arrays.size(); ++i) {
      LaneWriter wrong = without;
      add_frame(wrong, i);
      const std::string text = error_of(wrong), name = reference.session->outputs()[i].name;
      const std::string expected = "test.lane: self-test failed on " + options.isa + ": output \"" + name + "\" differs ";
      EXPECT_EQ(text.rfind(expected, 0), 0u) << text;
    }
  }
}

}  // namespace
}  // namespace edgelane
