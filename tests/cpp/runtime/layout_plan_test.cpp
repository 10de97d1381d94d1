#include "runtime/layout_plan.hpp"

#include <gtest/gtest.h>

#include "core/status.hpp"
#include "runtime/every_op.hpp"
#include "runtime/model_file.hpp"

namespace edgelane {
namespace {

using namespace testing;

struct ConvCase {
  const char* name;
  uint32_t side, kernel;
  int64_t stride, dilation;
  std::vector<int64_t> pads;  // top left bottom right
  uint32_t out_h, out_w;
  Border expected;
};

void expect_border(const Border& found, const Border& expected) {
  EXPECT_EQ(found.top, expected.top);
  EXPECT_EQ(found.left, expected.left);
  EXPECT_EQ(found.bottom, expected.bottom);
  EXPECT_EQ(found.right, expected.right);
}

TEST(LayoutPlan, BorderIsWhatTheTapsRead) {
  const std::vector<ConvCase> cases = {
      {"1x1", 8, 1, 1, 1, {0, 0, 0, 0}, 8, 8, {0, 0, 0, 0}},
      {"3x3 same", 8, 3, 1, 1, {1, 1, 1, 1}, 8, 8, {1, 1, 1, 1}},
      {"3x3 valid", 8, 3, 1, 1, {0, 0, 0, 0}, 6, 6, {0, 0, 0, 0}},
      {"stride 2 on an even side does not reach the bottom padding", 8, 3, 2, 1, {1, 1, 1, 1}, 4, 4, {1, 1, 0, 0}},
      {"stride 2 on an odd side does", 9, 3, 2, 1, {1, 1, 1, 1}, 5, 5, {1, 1, 1, 1}},
      {"7x7 stem", 224, 7, 2, 1, {3, 3, 3, 3}, 112, 112, {3, 3, 2, 2}},
      {"dilated", 8, 3, 1, 2, {2, 2, 2, 2}, 8, 8, {2, 2, 2, 2}},
      {"asymmetric", 8, 3, 1, 1, {0, 1, 2, 1}, 8, 8, {0, 1, 2, 1}},
      {"padding larger than the window", 4, 1, 1, 1, {2, 0, 3, 0}, 9, 4, {2, 0, 3, 0}},
      {"1x1 with stride 2 reads less than the image", 8, 1, 2, 1, {0, 0, 0, 0}, 4, 4, {0, 0, 0, 0}},
  };
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(c.name);
    LaneWriter w;
    const uint32_t x = w.input("x", DType::float32, {1, 1, c.side, c.side});
    const uint32_t y = w.output("y", DType::float32, {1, 1, c.out_h, c.out_w});
    const uint32_t weight = w.constant("w", {1, 1, c.kernel, c.kernel}, std::vector<float>(c.kernel * c.kernel, 1.0f));
    w.step("conv", Op::conv2d, {x, weight}, y,
           {ints(AttributeKey::pads, c.pads), ints(AttributeKey::strides, {c.stride, c.stride}),
            ints(AttributeKey::dilations, {c.dilation, c.dilation})});
    const Model model = parse_model(w.file(), "test.lane");
    expect_border(border_of_conv2d(model, model.steps[0]), c.expected);
    expect_border(plan_layouts(model)[x].layout.border.merged(c.expected), plan_layouts(model)[x].layout.border);
  }
}

// What only moves, multiplies and adds lies in row-major order; what a convolution or a pool reads or writes, and what shares its
// map with that, lies in planes.
TEST(LayoutPlan, TensorsThatNeedNoPlanesAreDense) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 4, 9, 7});
  const uint32_t sum = w.intermediate("sum", DType::float32, {1, 4, 9, 7}),
                 pool = w.intermediate("pool", DType::float32, {1, 4, 4, 3});
  w.step("add", Op::binary, {x, x}, sum, {ints(AttributeKey::function, {0})});
  w.step("pool", Op::max_pool2d, {sum}, pool, {ints(AttributeKey::kernel_shape, {2, 2}), ints(AttributeKey::strides, {2, 2})});
  const uint32_t last = w.intermediate("last", DType::float32, {1, 4, 3, 4}), y = w.output("y", DType::float32, {1, 4, 3, 5});
  w.step("channels last", Op::transpose, {pool}, last, {ints(AttributeKey::perm, {0, 2, 3, 1})});
  w.step("linear", Op::linear, {last, w.constant("w", {5, 4}, std::vector<float>(20, 1.0f))}, y);
  const std::vector<TensorDesc> descs = plan_layouts(parse_model(w.file(), "test.lane"));
  for (const uint32_t tensor : {x, sum, pool}) EXPECT_FALSE(descs[tensor].straight()) << tensor;
  for (const uint32_t tensor : {last, y}) EXPECT_TRUE(descs[tensor].straight()) << tensor;
  EXPECT_EQ(descs[y].bytes(), 4u * 3 * 5 * 4);
}

TEST(LayoutPlan, TensorsThatStepsConnectShareTheirPitch) {
  const Model model = parse_model(every_op_writer().file(), "test.lane");
  const std::vector<TensorDesc> descs = plan_layouts(model);
  const auto layout = [&](const std::string& name) {
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      if (model.tensors[i].name == name) return descs[i].layout;
    }
    ADD_FAILURE() << "no tensor " << name;
    return PlanarLayout();
  };
  // x feeds a 3x3 convolution and is the residual of another; a and b are their results.
  EXPECT_EQ(layout("x").pitch, 9);
  EXPECT_EQ(layout("a").pitch, layout("x").pitch);
  EXPECT_EQ(layout("b").pitch, layout("x").pitch);
  // Nobody pads the 10x10 maps or the pooled values.
  EXPECT_EQ(layout("pd").pitch, 10);
  EXPECT_EQ(layout("gap").pitch, 1);
}

TEST(LayoutPlan, AWideBorderIsNotShared) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 30, 40}), y = w.output("y", DType::float32, {1, 1, 30, 40});
  const uint32_t k1 = w.constant("k1", {1, 1, 1, 1}, std::vector<float>(1, 1.0f));
  const uint32_t k3 = w.constant("k3", {1, 1, 3, 3}, std::vector<float>(9, 1.0f));
  const auto padded = [](int64_t d) {
    return std::vector<Attribute>{ints(AttributeKey::pads, {d, d, d, d}), ints(AttributeKey::dilations, {d, d})};
  };
  const uint32_t a = w.intermediate("a", DType::float32, {1, 1, 30, 40}), b = w.intermediate("b", DType::float32, {1, 1, 30, 40}),
                 c = w.intermediate("c", DType::float32, {1, 1, 30, 40});
  w.step("1x1", Op::conv2d, {x, k1}, a);
  w.step("dilated by 16", Op::conv2d, {a, k3}, b, padded(16));
  w.step("3x3", Op::conv2d, {b, k3}, c, padded(1));
  w.step("1x1 with residual", Op::conv2d, {c, k1, kAbsentInput, x}, y);
  const std::vector<TensorDesc> descs = plan_layouts(parse_model(w.file(), "test.lane"));
  expect_border(descs[a].layout.border, {16, 16, 16, 16});
  for (const uint32_t narrow : {x, b, c, y}) expect_border(descs[narrow].layout.border, {1, 1, 1, 1});
}

TEST(LayoutPlan, EveryConsumerCounts) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 8, 8});
  const uint32_t k3 = w.constant("k3", {1, 1, 3, 3}, std::vector<float>(9, 1.0f));
  const uint32_t k5 = w.constant("k5", {1, 1, 5, 5}, std::vector<float>(25, 1.0f));
  w.step("3x3", Op::conv2d, {x, k3}, w.output("y3", DType::float32, {1, 1, 8, 8}), {ints(AttributeKey::pads, {1, 1, 1, 1})});
  w.step("5x5", Op::conv2d, {x, k5}, w.output("y5", DType::float32, {1, 1, 4, 4}),
         {ints(AttributeKey::pads, {2, 2, 2, 2}), ints(AttributeKey::strides, {2, 2})});
  const Model model = parse_model(w.file(), "test.lane");
  expect_border(plan_layouts(model)[x].layout.border, {2, 2, 1, 1});
}

// Files of a few hundred bytes that ask for gigabytes.
TEST(LayoutPlan, RefusesActivationsThatDoNotFit) {
  struct Case {
    DType dtype;
    LaneWriter::Dims dims;
  };
  for (const Case& c : {Case{DType::float32, {1, 1, 1 << 15, 1 << 15}}, Case{DType::int64, {0x7FFFFFFF}}}) {
    LaneWriter w;
    const uint32_t x = w.input("x", c.dtype, c.dims);
    w.step("copy", Op::reshape, {x}, w.output("y", c.dtype, c.dims));
    try {
      SessionOptions options;
      options.memory_limit_bytes = uint64_t{2} << 30;
      Session::load(w.file(), "test.lane", options);
      FAIL() << "the file was loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::invalid_file);
      EXPECT_NE(std::string(error.what()).find("expected an activation of at most 2147483648 bytes"), std::string::npos)
          << error.what();
    }
  }
}

// A small image with borders that would not fit.
TEST(LayoutPlan, RefusesBordersThatDoNotFit) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 64, 8, 8}),
                 weight = w.constant<float>("w", {1, 64, 1, 1}, std::vector<float>(64));
  const uint32_t y = w.output("y", DType::float32, {1, 1, 3, 3});
  w.step("conv", Op::conv2d, {x, weight}, y,
         {ints(AttributeKey::pads, {65535, 65535, 65535, 65535}), ints(AttributeKey::strides, {65535, 65535})});
  try {
    load(w);
    FAIL() << "the file was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::invalid_file);
    EXPECT_NE(std::string(error.what()).find("tensor \"x\": expected an activation"), std::string::npos) << error.what();
  }
}

// Each tensor fits, all of them together do not.
TEST(LayoutPlan, RefusesAnArenaThatDoesNotFit) {
  LaneWriter w;
  std::vector<uint32_t> parts;
  const uint32_t x = w.input("x", DType::float32, {1, 100, 1000, 1000});
  for (int i = 0; i < 16; ++i) {
    parts.push_back(w.output("y" + std::to_string(i), DType::float32, {1, 100, 1000, 1000}));
    w.step("abs", Op::unary, {x}, parts.back(), {ints(AttributeKey::activation, {15})});
  }
  try {
    load(w);
    FAIL() << "the file was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::invalid_file);
    EXPECT_NE(std::string(error.what()).find("expected activations of at most"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace edgelane
