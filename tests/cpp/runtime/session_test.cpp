// Whole networks through load and run. The kernels' own tests judge their numerics; these judge the wiring: attributes, layouts,
// memory, constants, inputs and outputs.
#include "runtime/session.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "runtime/every_op.hpp"

namespace edgelane {
namespace {

using namespace testing;
using K = AttributeKey;

template <class T>
std::vector<T> values(const std::vector<uint8_t>& bytes) {
  std::vector<T> v(bytes.size() / sizeof(T));
  std::memcpy(v.data(), bytes.data(), v.size() * sizeof(T));
  return v;
}

// Runs a network with one input and one output.
template <class In, class Out>
std::vector<Out> run_one(const LaneWriter& writer, const std::vector<In>& x, int threads = 1) {
  const std::unique_ptr<Session> session = load(writer, threads);
  EXPECT_EQ(session->inputs().at(0).bytes, x.size() * sizeof(In));
  std::vector<uint8_t> y(session->outputs().at(0).bytes);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  EXPECT_EQ(session->run(inputs, outputs), StatusCode::ok);
  return values<Out>(y);
}

// A network of one step from x to y.
LaneWriter one_step(Op op, const LaneWriter::Dims& x_dims, const LaneWriter::Dims& y_dims,
                    const std::vector<Attribute>& attributes) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, x_dims), y = w.output("y", DType::float32, y_dims);
  w.step("step", op, {x}, y, attributes);
  return w;
}

std::vector<float> counting(size_t count) {
  std::vector<float> v(count);
  for (size_t i = 0; i < count; ++i) v[i] = static_cast<float>(i);
  return v;
}

void expect_floats(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_FLOAT_EQ(found[i], expected[i]) << "element " << i;
}

TEST(Session, Conv2dTakesItsAttributes) {
  // 4 x 4 pixels 0 to 15, a window of 2 x 2 with dilation 2, stride 1 down and 2 across, one row of padding at the top.
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 4, 4}), y = w.output("y", DType::float32, {1, 1, 3, 1});
  const uint32_t weight = w.constant<float>("w", {1, 1, 2, 2}, {1, 10, 100, 1000});
  const uint32_t bias = w.constant<float>("b", {1}, {0.5f});
  w.step("conv", Op::conv2d, {x, weight, bias}, y,
         {ints(K::pads, {1, 0, 0, 0}), ints(K::dilations, {2, 2}), ints(K::strides, {1, 2})});
  // Row y reads image rows y - 1 and y + 1, columns 0 and 2.
  expect_floats(run_one<float, float>(w, counting(16)),
                {6400.5f, 20.0f + 8 * 100 + 10 * 1000 + 0.5f, 4 + 60 + 1200 + 14000 + 0.5f});
}

TEST(Session, InputsAndOutputsWithoutElements) {
  LaneWriter w = one_step(Op::unary, {2}, {2}, {ints(K::activation, {16})});
  w.input("nothing in", DType::float32, {1, 3, 0, 5});
  w.output("nothing out", DType::int64, {4, 0});
  RunnableSession s(load(w));
  ASSERT_EQ(s.session->inputs().size(), 2u);
  ASSERT_EQ(s.session->outputs().size(), 2u);
  EXPECT_EQ(s.session->inputs()[1].bytes, 0u);
  EXPECT_EQ(s.session->outputs()[1].shape, (std::vector<int64_t>{4, 0}));
  EXPECT_EQ(s.run(), StatusCode::ok);

  LaneWriter reads;
  const uint32_t nothing = reads.input("nothing", DType::float32, {0}), y = reads.output("y", DType::float32, {0});
  reads.step("copy", Op::reshape, {nothing}, y);
  EXPECT_THROW(load(reads), Error);
}

TEST(Session, SparseAndDenseWeightsGiveTheSame) {
  Numbers r(3);
  const std::vector<float> dense = with_zero_blocks(r.floats(10 * 6 * 9), 10, 6, 9, 4, 4, r);
  const std::vector<float> x = r.floats(6 * 49);
  std::vector<std::vector<float>> results;
  for (const int block : {0, 1, 4}) {
    LaneWriter w;
    const uint32_t in = w.input("x", DType::float32, {1, 6, 7, 7}), out = w.output("y", DType::float32, {1, 10, 7, 7});
    const uint32_t weight =
        block == 0 ? w.constant("w", {10, 6, 3, 3}, dense) : w.sparse_constant("w", {10, 6, 3, 3}, dense, block, block);
    w.step("conv", Op::conv2d, {in, weight}, out, {ints(K::pads, {1, 1, 1, 1})});
    results.push_back(run_one<float, float>(w, x));
  }
  EXPECT_EQ(results[0], results[1]);  // the kernels see the same dense weights
  EXPECT_EQ(results[0], results[2]);
}

TEST(Session, ConvTranspose2d) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 1, 2}), y = w.output("y", DType::float32, {1, 1, 1, 4});
  w.step("up", Op::conv_transpose2d, {x, w.constant<float>("w", {1, 1, 1, 2}, {1, 10})}, y, {ints(K::strides, {1, 2})});
  expect_floats(run_one<float, float>(w, {2, 3}), {2, 20, 3, 30});
}

TEST(Session, LinearOfEveryRank) {
  for (const LaneWriter::Dims& rows :
       {LaneWriter::Dims{}, LaneWriter::Dims{2}, LaneWriter::Dims{1, 2}, LaneWriter::Dims{1, 1, 2}}) {
    SCOPED_TRACE(rows.size());
    LaneWriter::Dims x_dims = rows, y_dims = rows;
    x_dims.push_back(3);
    y_dims.push_back(2);
    LaneWriter w;
    const uint32_t x = w.input("x", DType::float32, x_dims), y = w.output("y", DType::float32, y_dims);
    w.step("linear", Op::linear, {x, w.constant<float>("w", {2, 3}, {1, 2, 3, 4, 5, 6}), w.constant<float>("b", {2}, {0, 100})},
           y);
    if (rows.empty()) {
      expect_floats(run_one<float, float>(w, {1, 1, 1}), {6, 115});
    } else {
      expect_floats(run_one<float, float>(w, {1, 1, 1, 1, 0, 0}), {6, 115, 1, 104});
    }
  }
}

TEST(Session, Pools) {
  expect_floats(run_one<float, float>(one_step(Op::max_pool2d, {1, 1, 2, 4}, {1, 1, 1, 2},
                                               {ints(K::kernel_shape, {2, 2}), ints(K::strides, {1, 2})}),
                                      counting(8)),
                {5, 7});
  const auto padded = [](int64_t include) {
    return one_step(Op::average_pool2d, {1, 1, 1, 2}, {1, 1, 1, 2},
                    {ints(K::kernel_shape, {1, 2}), ints(K::pads, {0, 1, 0, 0}), ints(K::count_include_pad, {include})});
  };
  expect_floats(run_one<float, float>(padded(0), {4, 8}), {4, 6});
  expect_floats(run_one<float, float>(padded(1), {4, 8}), {2, 6});
  expect_floats(run_one<float, float>(one_step(Op::global_average_pool, {1, 2, 2, 2}, {1, 2, 1, 1}, {}), counting(8)),
                {1.5f, 5.5f});
}

TEST(Session, ElementWise) {
  LaneWriter affine;
  uint32_t x = affine.input("x", DType::float32, {1, 2, 2}), y = affine.output("y", DType::float32, {1, 2, 2});
  affine.step("affine", Op::affine, {x, affine.constant<float>("s", {2}, {1, 2}), affine.constant<float>("t", {2}, {0, -5})}, y,
              {ints(K::activation, {1})});
  expect_floats(run_one<float, float>(affine, {1, 2, 3, 2}), {1, 2, 1, 0});

  LaneWriter prelu;
  x = prelu.input("x", DType::float32, {1, 2, 1, 2});
  y = prelu.output("y", DType::float32, {1, 2, 1, 2});
  prelu.step("prelu", Op::prelu, {x, prelu.constant<float>("s", {2}, {0.5f, 2})}, y);
  expect_floats(run_one<float, float>(prelu, {-2, 2, -3, 3}), {-1, 2, -6, 3});

  const LaneWriter clip = one_step(Op::unary, {4}, {4}, {ints(K::activation, {2}), floats(K::activation_params, {-1, 1.5})});
  expect_floats(run_one<float, float>(clip, {-3, -1, 0, 3}), {-1, -1, 0, 1.5f});
}

TEST(Session, BinaryWithAConstantBroadcasts) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 2, 1, 2}), y = w.output("y", DType::float32, {1, 2, 1, 2});
  const uint32_t channel = w.constant<float>("c", {2, 1, 1}, {10, 100});
  w.step("sub", Op::binary, {channel, x}, y, {ints(K::function, {1})});
  expect_floats(run_one<float, float>(w, {1, 2, 3, 4}), {9, 8, 97, 96});
  // The constant keeps its place in the arena: a second run sees it again.
  RunnableSession s(load(w));
  ASSERT_EQ(s.run(), StatusCode::ok);
  const std::vector<std::vector<uint8_t>> first = s.output_arrays;
  ASSERT_EQ(s.run(), StatusCode::ok);
  EXPECT_EQ(s.output_arrays, first);
}

TEST(Session, Movement) {
  expect_floats(run_one<float, float>(one_step(Op::slice, {1, 4, 1, 2}, {1, 2, 1, 1},
                                               {ints(K::starts, {0, 1, 0, 1}), ints(K::steps, {1, 2, 1, 1})}),
                                      counting(8)),
                {3, 7});
  expect_floats(run_one<float, float>(one_step(Op::transpose, {2, 3}, {3, 2}, {ints(K::perm, {1, 0})}), counting(6)),
                {0, 3, 1, 4, 2, 5});
  expect_floats(run_one<float, float>(one_step(Op::reshape, {1, 2, 2, 2}, {4, 2}, {}), counting(8)), counting(8));
  expect_floats(
      run_one<float, float>(one_step(Op::channel_shuffle, {1, 4, 1, 1}, {1, 4, 1, 1}, {ints(K::groups, {2})}), counting(4)),
      {0, 2, 1, 3});
  const auto pad = [](int64_t mode) {
    return one_step(Op::pad, {3}, {6}, {ints(K::before, {1}), ints(K::mode, {mode}), floats(K::value, {7})});
  };
  expect_floats(run_one<float, float>(pad(0), {1, 2, 3}), {7, 1, 2, 3, 7, 7});
  expect_floats(run_one<float, float>(pad(1), {1, 2, 3}), {2, 1, 2, 3, 2, 1});
  expect_floats(run_one<float, float>(pad(2), {1, 2, 3}), {1, 1, 2, 3, 3, 3});
  expect_floats(
      run_one<float, float>(one_step(Op::resize, {1, 1, 1, 2}, {1, 1, 1, 4},
                                     {ints(K::coordinates, {1}), ints(K::nearest_mode, {1}), floats(K::scales, {1, 2})}),
                            {5, 6}),
      {5, 5, 6, 6});
}

TEST(Session, SoftmaxAndMean) {
  const float e = std::exp(1.0f);
  expect_floats(run_one<float, float>(one_step(Op::softmax, {2, 2}, {2, 2}, {ints(K::axis, {0})}), {0, 1, 1, 1}),
                {1 / (1 + e), 0.5f, e / (1 + e), 0.5f});
  expect_floats(run_one<float, float>(one_step(Op::log_softmax, {1, 2}, {1, 2}, {ints(K::axis, {1})}), {1, 1}),
                {-std::log(2.0f), -std::log(2.0f)});
  expect_floats(run_one<float, float>(one_step(Op::reduce, {2, 2}, {1, 2}, {ints(K::axes, {0})}), counting(4)), {1, 2});
}

TEST(Session, Int8ArraysAreUnbiasedForTheCaller) {
  for (const LaneWriter::Dims& dims : {LaneWriter::Dims{6}, LaneWriter::Dims{1, 6, 1, 1}, LaneWriter::Dims{1, 3, 1, 2}}) {
    SCOPED_TRACE(dims.size());
    LaneWriter w;
    const uint32_t x = w.input("x", DType::int8, dims, 0.5f, 3), y = w.output("y", DType::int8, dims, 0.5f, 3);
    w.step("copy", Op::reshape, {x}, y);
    const std::vector<int8_t> numbers = {-128, -1, 0, 1, 3, 127};
    EXPECT_EQ((run_one<int8_t, int8_t>(w, numbers)), numbers);
  }
  LaneWriter w;
  const uint32_t x = w.input("x", DType::int8, {4}, 0.5f, 3), y = w.output("y", DType::float32, {4});
  w.step("dequantize", Op::dequantize, {x}, y);
  expect_floats(run_one<int8_t, float>(w, {-128, 3, 4, 127}), {-65.5f, 0, 0.5f, 62});
}

TEST(Session, Int8Conv2d) {
  // acc = (x - 1) * 2 + 3; real = acc * (0.5 * 0.25); y = round(real / 0.5) + 10
  LaneWriter w;
  const uint32_t x = w.input("x", DType::int8, {1, 1, 1, 3}, 0.5f, 1), y = w.output("y", DType::int8, {1, 1, 1, 3}, 0.5f, 10);
  w.step("conv", Op::conv2d, {x, w.constant<int8_t>("w", {1, 1, 1, 1}, {2}, {0.25f}), w.constant<int32_t>("b", {1}, {3})}, y);
  EXPECT_EQ((run_one<int8_t, int8_t>(w, {1, 7, -128})), (std::vector<int8_t>{11, 14, -54}));
}

TEST(Session, ResidualsStayAlive) {
  // y = x + 1 + 1 + ... through steps whose buffers could take x's place, then + x.
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 4, 4});
  const uint32_t one = w.constant<float>("one", {1}, {1.0f}), eye = w.constant<float>("eye", {1, 1, 1, 1}, {1.0f});
  uint32_t last = x;
  for (int i = 0; i < 6; ++i) {
    const uint32_t next = w.intermediate("t" + std::to_string(i), DType::float32, {1, 1, 4, 4});
    w.step("add", Op::binary, {last, one}, next, {ints(K::function, {0})});
    last = next;
  }
  w.step("conv with residual", Op::conv2d, {last, eye, kAbsentInput, x}, w.output("y", DType::float32, {1, 1, 4, 4}));
  std::vector<float> expected(16);
  for (size_t i = 0; i < 16; ++i) expected[i] = 2 * static_cast<float>(i) + 6;
  expect_floats(run_one<float, float>(w, counting(16)), expected);
}

TEST(Session, StepsThatCanWorkInPlace) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 3, 5, 7}), one = w.constant<float>("one", {1}, {1.0f});
  const LaneWriter::Dims dims = {1, 3, 5, 7};
  const uint32_t added = w.intermediate("added", DType::float32, dims), negated = w.intermediate("negated", DType::float32, dims);
  const uint32_t sum = w.intermediate("sum", DType::float32, dims), flat = w.intermediate("flat", DType::float32, {1, 105});
  const uint32_t scaled = w.intermediate("scaled", DType::float32, dims);
  w.step("add", Op::binary, {x, one}, added, {ints(K::function, {0})});  // x lives on
  w.step("scale", Op::affine, {added, w.constant<float>("s", {3}, {-1, -1, -1}), w.constant<float>("t", {3}, {0, 0, 0})}, scaled);
  w.step("unary", Op::unary, {scaled}, negated, {ints(K::activation, {1})});  // relu
  w.step("sum", Op::binary, {negated, x}, sum, {ints(K::function, {0})});
  w.step("flatten", Op::reshape, {sum}, flat);
  w.step("flatten again", Op::reshape, {flat}, w.output("y", DType::float32, {105}));
  std::vector<float> values(105), expected(105);
  for (size_t i = 0; i < 105; ++i) {
    values[i] = static_cast<float>(i) - 50;
    expected[i] = std::max(0.0f, -(values[i] + 1)) + values[i];
  }
  for (const int threads : {1, 3}) expect_floats(run_one<float, float>(w, values, threads), expected);
  const std::string plan = load(w)->plan();
  EXPECT_EQ(plan.find("in place of x"), plan.rfind("in place of x")) << plan;
  for (const char* step : {"scaled float32[1, 3, 5, 7] in place of added", "negated float32[1, 3, 5, 7] in place of scaled",
                           "sum float32[1, 3, 5, 7] in place of negated", "y float32[105] in place of flat"}) {
    EXPECT_NE(plan.find(step), std::string::npos) << step << "\n" << plan;
  }
}

// Branches that are computed where their concatenation has them, against the same network in which somebody else needs them.
template <class T>
void compare_concat_in_place(DType dtype, uint32_t channels, bool expected_inside) {
  const bool int8 = dtype == DType::int8;
  const float scale = int8 ? 0.05f : 0.0f;
  const int zero = int8 ? 3 : 0;
  std::vector<std::vector<uint8_t>> results;
  for (const bool kept : {false, true}) {
    LaneWriter w;
    const LaneWriter::Dims part = {1, channels, 9, 13}, whole = {1, 2 * channels, 9, 13};
    const auto branch = [&](const char* name) {
      return kept ? w.output(name, dtype, part, scale, zero) : w.intermediate(name, dtype, part, scale, zero);
    };
    const uint32_t x = w.input("x", dtype, part, scale, zero), a = branch("a"), b = branch("b");
    const uint32_t joined = w.intermediate("joined", dtype, whole, scale, zero), y = w.output("y", dtype, part, scale, zero);
    const auto weights = [&](const char* name, uint32_t ic, uint32_t side) {
      std::vector<T> v(channels * ic * side * side);
      for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<T>(static_cast<int>(i * 7 % 11) - 5);
      const LaneWriter::Dims dims = {channels, ic, side, side};
      return int8 ? w.constant<T>(name, dims, v, {0.02f}) : w.constant<T>(name, dims, v);
    };
    w.step("one", Op::conv2d, {x, weights("w1", channels, 1)}, a);
    w.step("three", Op::conv2d, {x, weights("w2", channels, 3)}, b, {ints(K::pads, {1, 1, 1, 1})});
    w.step("join", Op::concat, {a, b}, joined, {ints(K::axis, {1})});
    w.step("last", Op::conv2d, {joined, weights("w3", 2 * channels, 3)}, y, {ints(K::pads, {1, 1, 1, 1})});
    EXPECT_EQ(load(w)->plan().find("inside joined") != std::string::npos, !kept && expected_inside) << load(w)->plan();
    for (const int threads : {1, 3}) {
      RunnableSession session(load(w, threads));
      EXPECT_EQ(session.run(), StatusCode::ok);
      EXPECT_EQ(session.run(), StatusCode::ok) << "and once more on what the first run left";
      results.push_back(session.output_arrays.back());
    }
  }
  for (const std::vector<uint8_t>& result : results) EXPECT_EQ(result, results[0]) << channels << " channels";
}

TEST(Session, BranchesAreComputedWhereTheirConcatenationHasThem) {
  compare_concat_in_place<float>(DType::float32, 5, true);
  compare_concat_in_place<int8_t>(DType::int8, 8, true);
  compare_concat_in_place<int8_t>(DType::int8, 6, false);  // both have a quad that is not all theirs
}

// conv + residual with the residual's memory as the output's, against the same network in which somebody else needs the residual.
template <class T>
void compare_residual_in_place(DType dtype, uint32_t height, uint32_t width, uint32_t kernel) {
  const bool int8 = dtype == DType::int8;
  const uint32_t channels = 12;
  std::vector<std::vector<uint8_t>> results;
  for (const bool kept : {false, true}) {
    LaneWriter w;
    const LaneWriter::Dims dims = {1, channels, height, width};
    const float scale = int8 ? 0.05f : 0.0f;
    const int zero = int8 ? 3 : 0;
    const uint32_t x = w.input("x", dtype, dims, scale, zero);
    const uint32_t t = kept ? w.output("t", dtype, dims, scale, zero) : w.intermediate("t", dtype, dims, scale, zero);
    const uint32_t u = w.intermediate("u", dtype, dims, scale, zero), y = w.output("y", dtype, dims, scale, zero);
    const auto weights = [&](const char* name, uint32_t side) {
      std::vector<T> v(channels * channels * side * side);
      for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<T>(i % 5 == 0 ? 0 : static_cast<int>(i * 7 % 11) - 5);
      return int8 ? w.constant<T>(name, {channels, channels, side, side}, v, {0.02f})
                  : w.constant<T>(name, {channels, channels, side, side}, v);
    };
    const int64_t pad = kernel / 2;
    w.step("first", Op::conv2d, {x, weights("w1", 1)}, t);
    w.step("middle", Op::conv2d, {t, weights("w2", kernel)}, u, {ints(K::pads, {pad, pad, pad, pad})});
    w.step("last", Op::conv2d, {u, weights("w3", 1), kAbsentInput, t}, y);
    EXPECT_EQ(load(w)->plan().find("in place of t") != std::string::npos, !kept) << load(w)->plan();
    for (const int threads : {1, 3}) {
      RunnableSession session(load(w, threads));
      EXPECT_EQ(session.run(), StatusCode::ok);
      EXPECT_EQ(session.run(), StatusCode::ok) << "and once more on what the first run left";
      results.push_back(session.output_arrays.back());
    }
  }
  for (const std::vector<uint8_t>& result : results) EXPECT_EQ(result, results[0]) << height << " x " << width;
}

TEST(Session, AResidualThatDiesGivesItsMemory) {
  for (const uint32_t kernel : {1, 3}) {
    for (const auto& [height, width] : {std::pair<uint32_t, uint32_t>{1, 1}, {7, 7}, {14, 15}, {33, 70}}) {
      compare_residual_in_place<float>(DType::float32, height, width, kernel);
      compare_residual_in_place<int8_t>(DType::int8, height, width, kernel);
    }
  }
}

// The file's weights are given back as they are packed, and not before their last reader has them.
TEST(Session, StepsMayShareWeights) {
  LaneWriter w;
  constexpr uint32_t kSize = 128;  // 16 pages of weights
  std::vector<float> turn(kSize * kSize);
  for (size_t i = 0; i < kSize; ++i) turn[i * kSize + (i + 1) % kSize] = 1.0f;  // y[i] = x[i + 1]
  const uint32_t weights = w.constant<float>("turn", {kSize, kSize}, turn);
  uint32_t last = w.input("x", DType::float32, {1, kSize});
  for (int i = 0; i < 4; ++i) {
    const uint32_t next =
        i == 3 ? w.output("y", DType::float32, {1, kSize}) : w.intermediate("t" + std::to_string(i), DType::float32, {1, kSize});
    w.step("turn", Op::linear, {last, weights}, next);
    last = next;
  }
  std::vector<float> expected(kSize);
  for (size_t i = 0; i < kSize; ++i) expected[i] = static_cast<float>((i + 4) % kSize);
  for (const int threads : {1, 2, 4}) expect_floats(run_one<float, float>(w, counting(kSize), threads), expected);
}

TEST(Session, SameBitsForEveryNumberOfThreadsAndEveryRun) {
  for (const Isa isa : available_isas()) {
    RunnableSession one(load(every_op_writer(), 1, isa_name(isa)));
    ASSERT_EQ(one.run(), StatusCode::ok);
    for (const int threads : {1, 2, 3}) {
      RunnableSession many(load(every_op_writer(), threads, isa_name(isa)));
      for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(many.run(), StatusCode::ok);
        ASSERT_EQ(many.output_arrays, one.output_arrays) << isa_name(isa) << ", " << threads << " threads, run " << i;
      }
    }
  }
}

TEST(Session, EveryInstructionSetAgrees) {
  RunnableSession scalar(load(every_op_writer(), 1, "scalar"));
  ASSERT_EQ(scalar.run(), StatusCode::ok);
  for (const Isa isa : available_isas()) {
    RunnableSession s(load(every_op_writer(), 1, isa_name(isa)));
    EXPECT_EQ(s.session->isa(), isa);
    ASSERT_EQ(s.run(), StatusCode::ok);
    for (size_t i = 0; i < s.session->outputs().size(); ++i) {
      const TensorSpec& spec = s.session->outputs()[i];
      SCOPED_TRACE(std::string(isa_name(isa)) + " " + spec.name);
      if (spec.dtype == DType::int64) {
        EXPECT_EQ(s.output_arrays[i], scalar.output_arrays[i]);
      } else if (spec.dtype == DType::float32) {
        const std::vector<float> found = values<float>(s.output_arrays[i]), expected = values<float>(scalar.output_arrays[i]);
        // The int8 branch begins with a rounding of float32 values that differ in their last bits: one step of its last scale.
        const float tolerance = spec.name == "scores" ? 1e-5f : 0.31f;
        for (size_t k = 0; k < found.size(); ++k) EXPECT_NEAR(found[k], expected[k], tolerance);
      } else {
        const std::vector<int8_t> found = values<int8_t>(s.output_arrays[i]), expected = values<int8_t>(scalar.output_arrays[i]);
        for (size_t k = 0; k < found.size(); ++k) EXPECT_NEAR(found[k], expected[k], 1);
      }
    }
  }
}

TEST(Session, CallersArraysMayStandAnywhere) {
  RunnableSession aligned(load(every_op_writer()));
  ASSERT_EQ(aligned.run(), StatusCode::ok);
  std::vector<std::vector<uint8_t>> in, out;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (const std::vector<uint8_t>& array : aligned.input_arrays) {
    std::vector<uint8_t>& copy = in.emplace_back(array.size() + 1);
    std::memcpy(copy.data() + 1, array.data(), array.size());
    inputs.push_back(copy.data() + 1);
  }
  for (const std::vector<uint8_t>& array : aligned.output_arrays)
    outputs.push_back(out.emplace_back(array.size() + 2).data() + 1);
  ASSERT_EQ(aligned.session->run(inputs.data(), outputs.data()), StatusCode::ok);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i].front(), 0);  // nothing is written around the arrays
    EXPECT_EQ(out[i].back(), 0);
    EXPECT_EQ(std::vector<uint8_t>(out[i].begin() + 1, out[i].end() - 1), aligned.output_arrays[i]);
  }
}

TEST(Session, UnknownOrMissingInstructionSets) {
  const auto code_of = [](const std::string& isa) {
    try {
      load(every_op_writer(), 1, isa);
    } catch (const Error& error) {
      return error.code();
    }
    return StatusCode::ok;
  };
  EXPECT_EQ(code_of("sse9"), StatusCode::invalid_argument);
  for (const char* isa : {"scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "neon", "neon_dotprod", "neon_i8mm"}) {
    const std::vector<Isa>& available = available_isas();
    const bool have = std::any_of(available.begin(), available.end(), [&](Isa i) { return std::string(isa_name(i)) == isa; });
    EXPECT_EQ(code_of(isa), have ? StatusCode::ok : StatusCode::unsupported) << isa;
  }
}

TEST(Session, GoldenFrame) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {2}), y = w.output("y", DType::float32, {2});
  w.step("abs", Op::unary, {x}, y, {ints(K::activation, {15})});
  EXPECT_FALSE(load(w)->check_golden().has_value());
  w.golden_value<float>(x, {-3, 4});
  LaneWriter off = w;
  w.golden_value<float>(y, {3, 4});
  off.golden_value<float>(y, {3, 5});
  EXPECT_EQ(load(w)->check_golden(), 0.0);
  EXPECT_DOUBLE_EQ(load(off)->check_golden().value(), 0.2);
  LaneWriter nan = off;
  const float not_a_number = std::nanf("");
  std::memcpy(nan.data.data() + nan.golden[1].data_offset, &not_a_number, 4);
  EXPECT_TRUE(std::isinf(load(nan)->check_golden().value()));
}

// A sound file that a kernel cannot serve is neither damaged nor the caller's mistake, and the message names the step.
TEST(Session, LimitsOfKernelsAreUnsupported) {
  try {
    load(one_step(Op::max_pool2d, {1, 1, 1, 5000}, {1, 1, 1, 1}, {ints(K::kernel_shape, {1, 5000})}));
    FAIL() << "the file was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::unsupported);
    EXPECT_NE(std::string(error.what()).find("test.lane: step \"step\" (max_pool2d): "), std::string::npos) << error.what();
  }
}

// Steps are prepared side by side; of several errors the first step's is reported, whichever came first.
TEST(Session, TheFirstErrorIsReportedForEveryNumberOfThreads) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 1, 5000});
  for (int i = 0; i < 20; ++i) {
    const std::string name = std::to_string(i);
    if (i < 3) {
      w.step("relu " + name, Op::unary, {x}, w.output("y" + name, DType::float32, {1, 1, 1, 5000}), {ints(K::activation, {1})});
    } else {
      w.step("pool " + name, Op::max_pool2d, {x}, w.output("y" + name, DType::float32, {1, 1, 1, 1}),
             {ints(K::kernel_shape, {1, 5000})});
    }
  }
  for (const int threads : {1, 2, 4}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      try {
        load(w, threads);
        FAIL() << "the file was loaded";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::unsupported);
        EXPECT_NE(std::string(error.what()).find("step \"pool 3\" (max_pool2d): "), std::string::npos) << error.what();
      }
    }
  }
}

TEST(Session, ProfileNamesEveryStep) {
  RunnableSession s(load(every_op_writer(), 2));
  const std::vector<ProfileRow> rows = s.session->profile(s.inputs.data(), 2);
  const size_t steps = every_op_writer().steps.size();
  ASSERT_EQ(rows.size(), 2 + steps + s.outputs.size());
  EXPECT_EQ(rows.front().op, "import");
  EXPECT_EQ(rows.back().op, "export");
  for (const ProfileRow& row : rows) {
    EXPECT_TRUE(std::isfinite(row.time_us) && row.time_us >= 0) << row.step;
    EXPECT_FALSE(row.kernel.kernel.empty()) << row.step;
    EXPECT_FALSE(row.kernel.format.empty()) << row.step;
  }
  EXPECT_EQ(rows[2].step, "conv");
  EXPECT_EQ(rows[2].kernel.dense_macs, 8 * 8 * 9 * 64);
  EXPECT_LT(rows[2].kernel.density, 0.7);
  EXPECT_GT(rows[2].kernel.density, 0.05);
  EXPECT_THROW(s.session->profile(s.inputs.data(), 0), Error);
}

TEST(Session, PlanListsEveryTensorAndKernel) {
  const std::unique_ptr<Session> session = load(every_op_writer());
  const LaneWriter w = every_op_writer();
  for (const StepRecord& s : w.steps) {
    EXPECT_NE(session->plan().find('"' + w.strings.substr(s.name_offset, s.name_length) + '"'), std::string::npos);
  }
  EXPECT_NE(session->plan().find("arena " + std::to_string(session->arena_bytes())), std::string::npos);
}

TEST(Session, TwoThreadsInOneSessionAreToldSo) {
  // One thread runs all the time; the other must see "ok" or "invalid_argument" and never a wrong result.
  RunnableSession s(load(every_op_writer()));
  ASSERT_EQ(s.run(), StatusCode::ok);
  const std::vector<std::vector<uint8_t>> expected = s.output_arrays;
  std::atomic<bool> stop{false};
  std::vector<std::vector<uint8_t>> other_arrays = expected;
  std::vector<void*> other_outputs;
  for (std::vector<uint8_t>& array : other_arrays) other_outputs.push_back(array.data());
  std::atomic<int> wrong{0};
  std::thread other([&] {
    while (!stop.load()) {
      if (s.session->run(s.inputs.data(), other_outputs.data()) == StatusCode::ok && other_arrays != expected) wrong.fetch_add(1);
    }
  });
  int refused = 0, ran = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ran + refused < 2000 || ((ran == 0 || refused == 0) && std::chrono::steady_clock::now() < end)) {
    if (s.run() == StatusCode::ok) {
      ++ran;
      EXPECT_EQ(s.output_arrays, expected);
    } else {
      ++refused;
    }
  }
  stop = true;
  other.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_GT(ran, 0);
  EXPECT_GT(refused, 0) << "the two never met";
}

}  // namespace
}  // namespace edgelane
