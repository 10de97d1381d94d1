// The shape, dtype and quantisation rules of each op: a small network that is right, and each way to be wrong.
#include <gtest/gtest.h>

#include <functional>

#include "core/status.hpp"
#include "runtime/every_op.hpp"
#include "runtime/model_file.hpp"

namespace edgelane {
namespace {

using namespace testing;
using K = AttributeKey;
using Dims = LaneWriter::Dims;

constexpr DType f32 = DType::float32, s8 = DType::int8;

// A tensor of a case: its shape, dtype and scale.
struct T {
  T(Dims d, DType t = f32, float s = 0, int z = 0) : dims(std::move(d)), dtype(t), scale(s), zero_point(z) {}
  Dims dims;
  DType dtype;
  float scale;
  int zero_point;
};

// What a case can change: constants by their shapes too, filled with ones.
struct Network {
  Network(Op o, T in, T out, std::vector<Attribute> a, std::vector<T> c, bool r = false)
      : op(o), x(std::move(in)), y(std::move(out)), attributes(std::move(a)), constants(std::move(c)), residual(r) {}
  Op op;
  T x, y;
  std::vector<Attribute> attributes;
  std::vector<T> constants;  // after x
  bool residual;             // x again, as the fourth input of conv2d
};

LaneWriter write(const Network& n) {
  LaneWriter w;
  std::vector<uint32_t> inputs = {w.input("x", n.x.dtype, n.x.dims, n.x.scale, n.x.zero_point)};
  int number = 0;
  for (const T& c : n.constants) {
    size_t count = 1;
    for (const uint32_t d : c.dims) count *= d;
    const std::string name = "c" + std::to_string(++number);
    const std::vector<float> scales = c.scale != 0 ? std::vector<float>{c.scale} : std::vector<float>{};
    if (c.dtype == f32) {
      inputs.push_back(w.constant(name, c.dims, std::vector<float>(count, 1.0f), scales));
    } else if (c.dtype == s8) {
      inputs.push_back(w.constant(name, c.dims, std::vector<int8_t>(count, 1), scales));
    } else if (c.dtype == DType::int64) {
      inputs.push_back(w.constant(name, c.dims, std::vector<int64_t>(count, 1), scales));
    } else if (c.dtype == DType::boolean) {
      inputs.push_back(w.constant(name, c.dims, std::vector<uint8_t>(count, 1), scales));
    } else {
      inputs.push_back(w.constant(name, c.dims, std::vector<int32_t>(count, 1), scales));
    }
  }
  while (n.residual && inputs.size() < 3) inputs.push_back(kAbsentInput);
  if (n.residual) inputs.push_back(inputs[0]);
  w.step("step", n.op, inputs, w.output("y", n.y.dtype, n.y.dims, n.y.scale, n.y.zero_point), n.attributes);
  return w;
}

std::string error_of(const Network& n) {
  try {
    parse_model(write(n).file(), "f");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::invalid_file);
    return error.what();
  }
  return "";
}

struct Wrong {
  const char* name;
  std::function<void(Network&)> bend;
  const char* expected;
};

void check(const Network& good, const std::vector<Wrong>& wrongs) {
  EXPECT_EQ(error_of(good), "");
  for (const Wrong& wrong : wrongs) {
    SCOPED_TRACE(wrong.name);
    Network bad = good;
    wrong.bend(bad);
    const std::string text = error_of(bad);
    EXPECT_NE(text.find(wrong.expected), std::string::npos) << "expected \"" << wrong.expected << "\" in: " << text;
  }
}

TEST(CheckStep, Conv2d) {
  const Network good = {Op::conv2d,
                        {{1, 4, 8, 8}},
                        {{1, 6, 4, 4}},
                        {ints(K::pads, {1, 1, 1, 1}), ints(K::strides, {2, 2}), ints(K::groups, {2})},
                        {{{6, 2, 3, 3}}, {{6}}}};
  check(good, {
                  {"input rank", [](Network& n) { n.x.dims = {4, 8, 8}; }, "expected rank 4"},
                  {"output rank", [](Network& n) { n.y.dims = {6, 4, 4}; }, "expected rank 4"},
                  {"weight rank", [](Network& n) { n.constants[0].dims = {6, 18}; }, "expected rank 4"},
                  {"input channels", [](Network& n) { n.constants[0].dims[1] = 3; }, "expected shape [6, 2, 3, 3]"},
                  {"groups", [](Network& n) { n.attributes[2] = ints(K::groups, {3}); }, "that 3 groups divide"},
                  {"output height", [](Network& n) { n.y.dims[2] = 5; }, "expected shape [1, 6, 4, 4]"},
                  {"output channels", [](Network& n) { n.y.dims[1] = 7; }, "expected shape [1, 6, 4, 4]"},
                  {"batch", [](Network& n) { n.y.dims[0] = 2; }, "expected shape [1, 6, 4, 4]"},
                  {"bias", [](Network& n) { n.constants[1].dims = {5}; }, "expected shape [6]"},
                  {"bias dtype", [](Network& n) { n.constants[1].dtype = DType::int32; }, "expected float32, found \"c2\" int32"},
                  {"weight dtype", [](Network& n) { n.constants[0].dtype = s8; }, "expected float32, found \"c1\" int8"},
                  {"window over the image", [](Network& n) { n.attributes.push_back(ints(K::dilations, {65535, 1})); },
                   "expected a window of at most"},
                  {"window too long",
                   [](Network& n) { n = {Op::conv2d, {{1, 1, 65536, 1}}, {{1, 1, 1, 1}}, {}, {{{1, 1, 65536, 1}}}}; },
                   "expected a window of at most 65535 pixels a side"},
                  {"residual shape", [](Network& n) { n.residual = true; }, "expected equal shapes"},
                  {"int8 output", [](Network& n) { n.y.dtype = s8, n.y.scale = 1; }, "expected float32"},
                  {"intermediate scale", [](Network& n) { n.attributes.push_back(floats(K::intermediate_scale, {1})); },
                   "belongs to int8"},
              });
}

TEST(CheckStep, Conv2dInt8) {
  const Network good = {
      Op::conv2d, {{1, 4, 8, 8}, s8, 0.5f}, {{1, 4, 8, 8}, s8, 0.25f}, {}, {{{4, 4, 1, 1}, s8, 0.5f}, {{4}, DType::int32}}, true};
  check(good, {
                  {"no weight scale", [](Network& n) { n.constants[0].scale = 0; }, "expected 1 or 4 scales"},
                  {"float bias", [](Network& n) { n.constants[1].dtype = f32; }, "expected int32"},
                  {"float weights", [](Network& n) { n.constants[0].dtype = f32; }, "expected int8"},
                  {"int64 output", [](Network& n) { n.y.dtype = DType::int64; }, "expected float32 or int8"},
              });
  Network to_float = good;
  to_float.y = {{1, 4, 8, 8}};
  EXPECT_EQ(error_of(to_float), "");
}

// The weights of these ops must be constants: a kernel packs them while loading.
TEST(CheckStep, WeightsAreConstants) {
  for (const Op op : {Op::conv2d, Op::linear, Op::prelu}) {
    LaneWriter w;
    const uint32_t x = w.input("x", f32, {2, 2}), weight = w.input("w", f32, {2, 2});
    w.step("step", op, {x, weight}, w.output("y", f32, {2, 2}));
    try {
      parse_model(w.file(), "f");
      ADD_FAILURE() << op_name(op);
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(op == Op::conv2d ? "expected rank 4" : "expected a constant"), std::string::npos) << text;
    }
  }
}

// ... and an activation cannot be block-sparse, because nothing would write it out.
TEST(CheckStep, SparseActivations) {
  LaneWriter w;
  const uint32_t c = w.sparse_constant("c", {4, 4}, std::vector<float>(16, 1.0f), 2, 2);
  w.step("abs", Op::unary, {c}, w.output("y", f32, {4, 4}));
  try {
    parse_model(w.file(), "f");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("expected an activation, found the block-sparse constant"), std::string::npos)
        << error.what();
  }
}

TEST(CheckStep, ConvTranspose2d) {
  const Network good = {Op::conv_transpose2d,
                        {{1, 4, 3, 3}},
                        {{1, 6, 6, 6}},
                        {ints(K::strides, {2, 2}), ints(K::pads, {1, 1, 1, 1}), ints(K::groups, {2})},
                        {{{4, 3, 3, 3}}, {{6}}}};  // 5 x 5, and one more from output_padding
  check(good, {
                  {"too large", [](Network& n) { n.y.dims[2] = 7; }, "expected an output side of 5 to 6"},
                  {"too small", [](Network& n) { n.y.dims[3] = 4; }, "expected an output side of 5 to 6"},
                  {"channels", [](Network& n) { n.y.dims[1] = 3; }, "expected shape [1, 6, 6, 6]"},
                  {"weights", [](Network& n) { n.constants[0].dims[0] = 5; }, "expected shape [4, 3, 3, 3]"},
                  {"groups", [](Network& n) { n.attributes[2] = ints(K::groups, {3}); }, "that 3 groups divide"},
                  {"groups that overflow", [](Network& n) { n.attributes[2] = ints(K::groups, {2147483647}); }, "groups divide"},
                  {"bias", [](Network& n) { n.constants[1].dims = {4}; }, "expected shape [6]"},
                  {"window too long",
                   [](Network& n) { n = {Op::conv_transpose2d, {{1, 1, 1, 1}}, {{1, 1, 65536, 1}}, {}, {{{1, 1, 65536, 1}}}}; },
                   "expected a window of at most 65535 pixels a side"},
                  {"int8", [](Network& n) { n.x.dtype = s8, n.x.scale = 1; }, "expected float32"},
              });
}

TEST(CheckStep, Linear) {
  const Network good = {Op::linear, {{2, 5, 4}}, {{2, 5, 3}}, {}, {{{3, 4}}, {{3}}}};
  check(good, {
                  {"rank 0", [](Network& n) { n.x.dims = {}; }, "expected rank 1 or more"},
                  {"input channels", [](Network& n) { n.constants[0].dims = {3, 5}; }, "expected shape [3, 4]"},
                  {"output channels", [](Network& n) { n.y.dims[2] = 4; }, "with 3 at its end"},
                  {"rows", [](Network& n) { n.y.dims[1] = 6; }, "with 3 at its end"},
                  {"rank", [](Network& n) { n.y.dims = {10, 3}; }, "with 3 at its end"},
                  {"bias", [](Network& n) { n.constants[1].dims = {1}; }, "expected shape [3]"},
              });
}

TEST(CheckStep, Pools) {
  const Network good = {
      Op::max_pool2d, {{1, 2, 7, 7}}, {{1, 2, 3, 3}}, {ints(K::kernel_shape, {2, 2}), ints(K::strides, {2, 2})}, {}};
  check(good,
        {
            {"too large", [](Network& n) { n.y.dims[2] = 5; }, "expected an output side of 3 or one more"},
            {"too small", [](Network& n) { n.y.dims[2] = 2; }, "expected an output side of 3 or one more"},
            {"channels", [](Network& n) { n.y.dims[1] = 3; }, "expected shape"},
            {"dtype", [](Network& n) { n.y.dtype = s8, n.y.scale = 1; }, "expected equal dtypes"},
            {"padding", [](Network& n) { n.attributes.push_back(ints(K::pads, {2, 0, 0, 0})); }, "expected less padding"},
            {"window", [](Network& n) { n.attributes[0] = ints(K::kernel_shape, {9, 2}); }, "expected a window of at most the 7"},
            {"int64", [](Network& n) { n.x.dtype = n.y.dtype = DType::int64; }, "expected float32 or int8"},
        });
  Network ceil = good;
  ceil.y.dims = {1, 2, 4, 4};
  EXPECT_EQ(error_of(ceil), "");
  // A window that would begin behind the image is no window of ceil_mode.
  Network behind = good;
  behind.x.dims = {1, 2, 6, 6};
  behind.y.dims = {1, 2, 4, 4};
  EXPECT_NE(error_of(behind).find("expected an output side of 3, found"), std::string::npos);

  Network int8 = good;
  int8.x = {{1, 2, 7, 7}, s8, 0.5f, 1};
  int8.y = {{1, 2, 3, 3}, s8, 0.5f, 2};
  EXPECT_NE(error_of(int8).find("expected equal scales and zero points"), std::string::npos);
  int8.op = Op::average_pool2d;
  EXPECT_EQ(error_of(int8), "");
  check({Op::global_average_pool, {{1, 2, 7, 7}}, {{1, 2, 1, 1}}, {}, {}},
        {{"shape", [](Network& n) { n.y.dims = {1, 2, 1, 2}; }, "expected shape [1, 2, 1, 1]"}});
}

TEST(CheckStep, ElementWise) {
  check({Op::affine, {{2, 3, 4}}, {{2, 3, 4}}, {}, {{{3}}, {{3}}}},
        {
            {"scale", [](Network& n) { n.constants[0].dims = {4}; }, "expected shape [3]"},
            {"shift", [](Network& n) { n.constants[1].dims = {1, 3}; }, "expected shape [3]"},
            {"slope", [](Network& n) { n.constants.push_back({{4}}); }, "expected shape [3]"},
            {"slope and activation",
             [](Network& n) {
               n.constants.push_back({{3}});
               n.attributes = {ints(K::activation, {1})};
             },
             "expected no activation beside the slopes \"c3\" float32[3], found relu"},
            {"rank 1", [](Network& n) { n.x.dims = n.y.dims = {3}; }, "expected rank 2 or more"},
            {"shapes", [](Network& n) { n.y.dims[2] = 5; }, "expected equal shapes"},
        });
  check({Op::prelu, {{2, 3}}, {{2, 3}}, {}, {{{3}}}},
        {{"slope", [](Network& n) { n.constants[0].dims = {1}; }, "expected shape [3]"}});
  check({Op::unary, {{4}}, {{4}}, {ints(K::activation, {1})}, {}},
        {
            {"shape", [](Network& n) { n.y.dims = {5}; }, "expected equal shapes"},
            {"dtype", [](Network& n) { n.y.dtype = s8, n.y.scale = 1; }, "expected equal dtypes"},
            {"bool", [](Network& n) { n.x.dtype = n.y.dtype = DType::boolean; }, "expected float32 or int8"},
        });
  check({Op::binary, {{2, 1, 4}}, {{2, 3, 4}}, {ints(K::function, {0})}, {{{3, 1}}}},
        {
            {"no broadcast", [](Network& n) { n.constants[0].dims = {2, 1}, n.x.dims = {2, 3, 4}; },
             "expected shapes that broadcast"},
            {"output", [](Network& n) { n.y.dims = {2, 1, 4}; }, "expected shapes that broadcast"},
            {"output too large", [](Network& n) { n.y.dims = {2, 3, 5}; }, "expected shapes that broadcast"},
            {"rank", [](Network& n) { n.y.dims = {1, 2, 3, 4}; }, "expected rank 3"},
            {"mixed dtypes", [](Network& n) { n.x.dtype = s8, n.x.scale = 1; }, "expected equal dtypes"},
        });
  check(
      {Op::binary, {{4}, s8, 1}, {{4}, s8, 1}, {ints(K::function, {2})}, {{{4}, s8, 1}}},
      {
          {"int8 division", [](Network& n) { n.attributes[0] = ints(K::function, {3}); }, "expected float32"},
          {"constant without a scale", [](Network& n) { n.constants[0].scale = 0; }, "expected one scale of the int8 activation"},
      });
}

TEST(CheckStep, IntegersBoolsAndWhere) {
  const auto i32 = DType::int32, boolean = DType::boolean;
  check({Op::unary, {{4}, i32}, {{4}, i32}, {ints(K::activation, {15})}, {}},
        {{"exp", [](Network& n) { n.attributes[0] = ints(K::activation, {13}); }, "expected float32 or int8, found"}});
  check({Op::unary, {{4}}, {{4}, boolean}, {ints(K::activation, {40})}, {}},
        {
            {"to float32", [](Network& n) { n.y = {{4}}; }, "expected bool, found"},
            {"logical_not", [](Network& n) { n.attributes[0] = ints(K::activation, {38}); }, "expected bool, found"},
        });
  check({Op::binary, {{4}, i32}, {{4}, i32}, {ints(K::function, {18})}, {{{4}, i32}}},
        {
            {"of float32", [](Network& n) { n.x = n.y = n.constants[0] = {{4}}; }, "expected int32 or int64, found"},
            {"activation", [](Network& n) { n.attributes.push_back(ints(K::activation, {1})); }, "expected float32 or int8"},
            {"to int64", [](Network& n) { n.y.dtype = DType::int64; }, "expected equal dtypes"},
            {"logic", [](Network& n) { n.attributes[0] = ints(K::function, {12}); }, "expected bool, found"},
            {"prelu", [](Network& n) { n.attributes[0] = ints(K::function, {20}); }, "expected float32, found"},
        });
  check({Op::binary, {{2, 4}}, {{2, 4}, boolean}, {ints(K::function, {10})}, {{{4}}}},
        {
            {"to float32", [](Network& n) { n.y.dtype = f32; }, "expected bool, found"},
            {"activation", [](Network& n) { n.attributes.push_back(ints(K::activation, {1})); },
             "expected no activation behind a comparison, found relu"},
            {"bool", [](Network& n) { n.x.dtype = DType::boolean; }, "expected equal dtypes"},
        });
  check({Op::where, {{2, 1}, boolean}, {{2, 3}}, {}, {{{3}}, {{1}}}},
        {
            {"condition", [](Network& n) { n.x.dtype = DType::int32; }, "expected bool, found"},
            {"dtype", [](Network& n) { n.constants[1].dtype = DType::int32; }, "expected equal dtypes"},
            {"shape", [](Network& n) { n.constants[0].dims = {4}; }, "expected shapes that broadcast"},
            {"scale", [](Network& n) { n.y = {{2, 3}, s8, 1.0f}, n.constants = {{{3}, s8, 1.0f}, {{1}, s8, 0.5f}}; },
             "expected equal scales and zero points"},
        });
}

TEST(CheckStep, CastAndRecode) {
  check({Op::cast, {{2, 3}}, {{2, 3}, DType::boolean}, {}, {}},
        {
            {"shape", [](Network& n) { n.y.dims = {3, 2}; }, "expected equal shapes"},
            {"attribute", [](Network& n) { n.attributes = {ints(K::axis, {0})}; }, "axis does not belong"},
        });
  check({Op::recode, {{1, 3, 4, 4}, DType::uint8}, {{1, 3, 4, 4}, s8, 0.5f, 3}, {}, {}},
        {
            {"shape", [](Network& n) { n.y.dims = {1, 3, 4, 5}; }, "expected equal shapes"},
            {"to uint8", [](Network& n) { n.y = {{1, 3, 4, 4}, DType::uint8}; }, "expected int8, found"},
            {"from float32", [](Network& n) { n.x = {{1, 3, 4, 4}}; }, "expected int8 or uint8"},
            {"to bool", [](Network& n) { n.y = {{1, 3, 4, 4}, DType::boolean}; }, "expected int8, found"},
        });
}

TEST(CheckStep, AxesAndMovement) {
  check({Op::softmax, {{2, 3}}, {{2, 3}}, {ints(K::axis, {1})}, {}},
        {
            {"axis", [](Network& n) { n.attributes[0] = ints(K::axis, {2}); }, "expected an axis below 2, found 2"},
            {"int8", [](Network& n) { n.x = n.y = {{2, 3}, s8, 1}; }, "expected float32"},
        });
  check({Op::concat, {{2, 3}}, {{2, 5}}, {ints(K::axis, {1})}, {{{2, 2}}}},
        {
            {"sum", [](Network& n) { n.y.dims = {2, 6}; }, "expected 5 elements along axis 1"},
            {"other axis", [](Network& n) { n.constants[0].dims = {3, 2}; }, "differ along axis 1 only"},
            {"rank", [](Network& n) { n.constants[0].dims = {2}; }, "expected rank 2"},
            {"dtype", [](Network& n) { n.constants[0].dtype = DType::int32; }, "expected equal dtypes"},
            {"axis", [](Network& n) { n.attributes[0] = ints(K::axis, {5}); }, "expected an axis below 2"},
        });
  check({Op::slice, {{9, 4}}, {{3, 2}}, {ints(K::starts, {1, 2}), ints(K::steps, {3, 1})}, {}},
        {
            {"past the end", [](Network& n) { n.attributes[0] = ints(K::starts, {3, 2}); },
             "expected to read up to element 8 of axis 0, found 9"},
            {"far past the end", [](Network& n) { n.attributes[1] = ints(K::steps, {2147483647, 1}); },
             "expected to read up to element 8"},
            {"counts", [](Network& n) { n.attributes[0] = ints(K::starts, {1}); },
             "expected 2 values of attribute starts, found 1"},
            {"rank", [](Network& n) { n.y.dims = {6}; }, "expected rank 2"},
        });
  check({Op::transpose, {{2, 3, 4}}, {{4, 2, 3}}, {ints(K::perm, {2, 0, 1})}, {}},
        {
            {"axis twice", [](Network& n) { n.attributes[0] = ints(K::perm, {2, 2, 1}); },
             "expected a permutation of 3 axes, found [2, 2, 1]"},
            {"axis out of range", [](Network& n) { n.attributes[0] = ints(K::perm, {2, 0, 3}); }, "expected a permutation"},
            {"shape", [](Network& n) { n.y.dims = {4, 3, 2}; }, "permuted by [2, 0, 1]"},
            {"count", [](Network& n) { n.attributes[0] = ints(K::perm, {1, 0}); }, "expected 3 values of attribute perm"},
        });
  check({Op::reshape, {{2, 6}, s8, 0.5f, 1}, {{3, 4}, s8, 0.5f, 1}, {}, {}},
        {
            {"count", [](Network& n) { n.y.dims = {3, 5}; }, "expected as many elements on both sides"},
            {"scale", [](Network& n) { n.y.scale = 0.25f; }, "expected equal scales and zero points"},
        });
  check({Op::channel_shuffle, {{1, 6, 2, 2}}, {{1, 6, 2, 2}}, {ints(K::groups, {3})}, {}},
        {{"groups", [](Network& n) { n.attributes[0] = ints(K::groups, {4}); }, "that 4 groups divide"}});
}

TEST(CheckStep, Matmul) {
  check({Op::matmul, {{2, 1, 3, 4}}, {{2, 5, 3, 6}}, {}, {{{5, 4, 6}}}},
        {
            {"inner sizes", [](Network& n) { n.constants[0].dims = {5, 3, 6}; }, "expected matrices that can be multiplied"},
            {"a vector", [](Network& n) { n = {Op::matmul, {{4}}, {{6}}, {}, {{{4, 6}}}}; }, "expected matrices"},
            {"rows", [](Network& n) { n.y.dims[2] = 4; }, "expected the product of"},
            {"columns", [](Network& n) { n.y.dims[3] = 7; }, "expected the product of"},
            {"batch", [](Network& n) { n.y.dims[1] = 1; }, "expected shapes that broadcast to the output's"},
            {"batches that do not broadcast", [](Network& n) { n.x.dims[1] = 4; }, "expected shapes that broadcast"},
            {"rank", [](Network& n) { n.y.dims = {5, 3, 6}; }, "expected rank 4"},
            {"dtype of the output", [](Network& n) { n.y.dtype = DType::int32; }, "expected equal dtypes"},
            {"dtypes", [](Network& n) { n.constants[0].dtype = DType::int32; }, "expected equal dtypes"},
            {"int64", [](Network& n) { n.x.dtype = DType::int64; }, "expected float32 or int32"},
        });
}

TEST(CheckStep, Normalize) {
  check({Op::normalize, {{2, 3, 4}}, {{2, 3, 4}}, {ints(K::axis, {1}), ints(K::mode, {1})}, {{{12}}, {{12}}}},
        {
            {"axis", [](Network& n) { n.attributes[0] = ints(K::axis, {3}); }, "expected an axis below 3, found 3"},
            {"mode", [](Network& n) { n.attributes[1] = ints(K::mode, {2}); }, "expected mode 0 to 1, found 2"},
            {"scale", [](Network& n) { n.constants[0].dims = {4}; }, "expected shape [12]"},
            {"scale of rank 2", [](Network& n) { n.constants[0].dims = {3, 4}; }, "expected shape [12]"},
            {"bias", [](Network& n) { n.constants[1].dims = {3}; }, "expected shape [12]"},
            {"dtype of the bias", [](Network& n) { n.constants[1].dtype = DType::int32; }, "expected float32"},
            {"shape", [](Network& n) { n.y.dims = {2, 4, 3}; }, "expected equal shapes"},
            {"int8", [](Network& n) { n.x = {{2, 3, 4}, s8, 1}; }, "expected float32"},
        });
}

TEST(CheckStep, PadResizeMeanAndConvert) {
  check({Op::pad, {{4}}, {{8}}, {ints(K::before, {3}), ints(K::mode, {1})}, {}},
        {
            {"too small", [](Network& n) { n.y.dims = {6}; }, "expected at least 7 elements along axis 0"},
            {"reflects too far", [](Network& n) { n.attributes[0] = ints(K::before, {4}); },
             "expected a reflected border of less than 4"},
            {"reflects too far behind", [](Network& n) { n.attributes[0] = ints(K::before, {0}); },
             "expected a reflected border of less than 4"},
            {"scale", [](Network& n) { n.x = {{4}, s8, 1}, n.y = {{8}, s8, 2}; }, "expected equal scales"},
            {"dtype", [](Network& n) { n.y.dtype = DType::int32; }, "expected equal dtypes"},
        });
  check({Op::resize, {{1, 2, 4, 4}}, {{1, 2, 8, 6}}, {ints(K::mode, {1}), floats(K::scales, {2, 1.5})}, {}},
        {
            {"size", [](Network& n) { n.y.dims[2] = 9; }, "expected an output side of 4 times the scale 2"},
            {"tiny scale", [](Network& n) { n.attributes[1] = floats(K::scales, {1e-30, 1.5}); }, "expected an output side"},
            {"negative scale", [](Network& n) { n.attributes[1] = floats(K::scales, {-2, 1.5}); }, "expected an output side"},
            {"channels", [](Network& n) { n.y.dims[1] = 3; }, "expected shape"},
            {"int8 linear", [](Network& n) { n.x = {{1, 2, 4, 4}, s8, 1}, n.y = {{1, 2, 8, 6}, s8, 1}; }, "expected float32"},
        });
  check({Op::reduce, {{2, 3, 4}}, {{2, 1, 1}}, {ints(K::axes, {1, 2})}, {}},
        {
            {"shape", [](Network& n) { n.y.dims = {2, 1, 4}; }, "with 1 at the reduced axes"},
            {"order", [](Network& n) { n.attributes[0] = ints(K::axes, {2, 1}); }, "expected ascending axes below 3"},
            {"twice", [](Network& n) { n.attributes[0] = ints(K::axes, {1, 1}); }, "expected ascending axes"},
            {"out of range", [](Network& n) { n.attributes[0] = ints(K::axes, {1, 3}); }, "expected ascending axes below 3"},
            {"dtypes", [](Network& n) { n.y.dtype = DType::int32; }, "expected equal dtypes"},
            {"bool", [](Network& n) { n.x.dtype = n.y.dtype = DType::boolean; }, "expected float32 or int32 or int64"},
            {"unknown reduction", [](Network& n) { n.attributes.push_back(ints(K::reduction, {10})); }, "expected 0 to 9"},
        });
  check({Op::arg_reduce, {{2, 3, 4}}, {{2, 1, 4}, DType::int64}, {ints(K::axis, {1})}, {}},
        {
            {"shape", [](Network& n) { n.y.dims = {2, 4}; }, "expected rank 3"},
            {"not reduced", [](Network& n) { n.y.dims = {2, 3, 4}; }, "with 1 at the reduced axes"},
            {"axis", [](Network& n) { n.attributes[0] = ints(K::axis, {3}); }, "expected an axis below 3"},
            {"int32 places", [](Network& n) { n.y.dtype = DType::int32; }, "expected int64"},
            {"int8", [](Network& n) { n.x = {{2, 3, 4}, s8, 1}; }, "expected float32 or int32 or int64"},
        });
  check({Op::top_k, {{2, 9}}, {{2, 4}, DType::int64}, {ints(K::axis, {1})}, {}},
        {
            {"more than there are", [](Network& n) { n.y.dims = {2, 10}; }, "with no more along axis 1"},
            {"other axis", [](Network& n) { n.y.dims = {1, 4}; }, "with no more along axis 1"},
            {"axis", [](Network& n) { n.attributes[0] = ints(K::axis, {2}); }, "expected an axis below 2"},
            {"float places", [](Network& n) { n.y.dtype = f32; }, "expected int64"},
        });
  check({Op::quantize, {{4}}, {{4}, s8, 1}, {}, {}},
        {
            {"from int8", [](Network& n) { n.x = {{4}, s8, 1}; }, "expected float32"},
            {"to float32", [](Network& n) { n.y = {{4}}; }, "expected int8"},
            {"shape", [](Network& n) { n.y.dims = {2, 2}; }, "expected equal shapes"},
        });
  check({Op::dequantize, {{4}, s8, 1}, {{4}}, {}, {}}, {{"to int8", [](Network& n) { n.y = {{4}, s8, 1}; }, "expected float32"}});
  check({Op::requantize, {{4}, s8, 1}, {{4}, s8, 2}, {}, {}}, {{"to float32", [](Network& n) { n.y = {{4}}; }, "expected int8"}});
}

TEST(CheckStep, Gathers) {
  const Network gather = {Op::gather, {{2, 5, 3}}, {{2, 4, 2, 3}}, {ints(K::axis, {1})}, {{{4, 2}, DType::int64}}};
  check(gather, {
                    {"axis", [](Network& n) { n.attributes[0] = ints(K::axis, {3}); }, "expected an axis below 3"},
                    {"shape", [](Network& n) { n.y.dims = {2, 8, 3}; }, "expected shape [2, 4, 2, 3]"},
                    {"float indices", [](Network& n) { n.constants[0].dtype = f32; }, "expected int32 or int64"},
                    {"dtype", [](Network& n) { n.y.dtype = DType::int32; }, "expected equal dtypes"},
                    {"scale", [](Network& n) { n.x = {{2, 5, 3}, s8, 1}, n.y = {{2, 4, 2, 3}, s8, 2}; }, "expected equal scales"},
                });
  const Network elements = {Op::gather_elements, {{2, 5}}, {{1, 9}}, {ints(K::axis, {1})}, {{{1, 9}, DType::int32}}};
  check(elements, {
                      {"shape", [](Network& n) { n.y.dims = {1, 8}; }, "expected equal shapes"},
                      {"reaches", [](Network& n) { n.y.dims = n.constants[0].dims = {3, 9}; }, "expected at most 2 along axis 0"},
                      {"rank", [](Network& n) { n.y.dims = n.constants[0].dims = {9}; }, "expected rank 2"},
                  });
  const Network nd = {Op::gather_nd, {{2, 5, 3}}, {{2, 4, 3}}, {ints(K::batch_dims, {1})}, {{{2, 4, 1}, DType::int64}}};
  check(nd, {
                {"tuples too long", [](Network& n) { n.constants[0].dims[2] = 3; }, "expected index tuples of at most 2"},
                {"batch dims", [](Network& n) { n.attributes[0] = ints(K::batch_dims, {3}); }, "expected index tuples"},
                {"batches", [](Network& n) { n.constants[0].dims[0] = 1; }, "expected equal batch dimensions"},
                {"shape", [](Network& n) { n.y.dims = {2, 4}; }, "expected shape [2, 4, 3]"},
                {"a scalar index", [](Network& n) { n.constants[0].dims = {}; }, "expected indices of rank 1 or more"},
            });
}

TEST(CheckStep, Detection) {
  const Network suppression = {
      Op::non_max_suppression, {{2, 9, 4}}, {{2 * 3 * 5, 3}, DType::int64}, {ints(K::max_per_class, {5})}, {{{2, 3, 9}}}};
  check(suppression, {
                         {"boxes", [](Network& n) { n.x.dims = {2, 8, 4}; }, "expected shape [2, 9, 4]"},
                         {"no corners", [](Network& n) { n.x.dims = {2, 9, 5}; }, "expected shape [2, 9, 4]"},
                         {"scores", [](Network& n) { n.constants[0].dims = {6, 9}; }, "expected rank 3"},
                         {"rows", [](Network& n) { n.y.dims = {29, 3}; }, "expected shape [30, 3]"},
                         {"no more rows than boxes", [](Network& n) { n.attributes[0] = ints(K::max_per_class, {100}); },
                          "expected shape [54, 3]"},
                         {"int32 rows", [](Network& n) { n.y.dtype = DType::int32; }, "expected int64"},
                         {"none of a class", [](Network& n) { n.attributes[0] = ints(K::max_per_class, {0}); }, "max_per_class"},
                         {"no limit", [](Network& n) { n.attributes.clear(); }, "max_per_class"},
                     });
  const Network regions = {Op::roi_align, {{2, 4, 8, 9}}, {{5, 4, 3, 3}}, {}, {{{5, 4}}, {{5}, DType::int64}}};
  check(regions,
        {
            {"regions", [](Network& n) { n.constants[0].dims = {4, 4}; }, "expected shape [5, 4]"},
            {"images", [](Network& n) { n.constants[1].dims = {5, 1}; }, "expected shape [5]"},
            {"float images", [](Network& n) { n.constants[1].dtype = f32; }, "expected int32 or int64"},
            {"channels", [](Network& n) { n.y.dims[1] = 3; }, "expected shape [5, 4, 3, 3]"},
            {"mode", [](Network& n) { n.attributes = {ints(K::mode, {2})}; }, "expected mode 0 to 1"},
            {"coordinates", [](Network& n) { n.attributes = {ints(K::coordinates, {2})}; }, "expected coordinates 0 or 1"},
            {"ratio", [](Network& n) { n.attributes = {ints(K::sampling_ratio, {257})}; }, "expected 0 to 256"},
            {"int8", [](Network& n) { n.x = {{2, 4, 8, 9}, s8, 1}; }, "expected float32"},
        });
}

TEST(CheckStep, Scatters) {
  const T indices = {{2, 3}, DType::int64};
  const Network elements = {Op::scatter_elements, {{2, 5}}, {{2, 5}}, {ints(K::axis, {1})}, {indices, {{2, 3}}}};
  check(elements, {
                      {"updates", [](Network& n) { n.constants[1].dims = {2, 4}; }, "expected equal shapes"},
                      {"reaches", [](Network& n) { n.constants[0].dims = n.constants[1].dims = {3, 3}; },
                       "expected at most 2 along axis 0"},
                      {"shape", [](Network& n) { n.y.dims = {2, 6}; }, "expected equal shapes"},
                      {"update dtype", [](Network& n) { n.constants[1].dtype = DType::int32; }, "expected equal dtypes"},
                      {"bools cannot be added",
                       [](Network& n) {
                         n.x.dtype = n.y.dtype = n.constants[1].dtype = DType::boolean;
                         n.attributes.push_back(ints(K::scatter_reduction, {1}));
                       },
                       "expected float32 or int32 or int64"},
                  });
  const Network nd = {Op::scatter_nd, {{4, 5}}, {{4, 5}}, {}, {{{3, 1}, DType::int32}, {{3, 5}}}};
  check(nd, {
                {"updates", [](Network& n) { n.constants[1].dims = {3}; }, "expected shape [3, 5]"},
                {"tuples too long", [](Network& n) { n.constants[0].dims = {3, 3}; }, "expected index tuples of at most 2"},
                {"float indices", [](Network& n) { n.constants[0].dtype = f32; }, "expected int32 or int64"},
            });
}

}  // namespace
}  // namespace edgelane
