#include "kernels/elementwise/elementwise.hpp"

#include <limits>

#include "kernels/elementwise/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

const std::vector<std::vector<int>> kShapes = {
    {1, 1, 1, 1}, {1, 3, 1, 15},   {2, 5, 7, 17},   {1, 6, 13, 16}, {1},           {31}, {2, 33},
    {3, 5, 7},    {2, 3, 5, 7, 2}, {1, 41, 33, 37}, {40000},        {3, 17, 1001}, {}};

TEST(Elementwise, UnaryFloatOnEveryLayout) {
  const Activation a{ActivationKind::leaky_relu, 0.25f, 0.0f};  // exact: a selection and a product
  for (const std::vector<int>& shape : kShapes) {
    const UnaryProblem p{f32(shape, {1, 2, 0, 1}), f32(shape, {0, 1, 1, 3}), a};
    const Data x = random_data(p.input, 1);
    Data expected(p.output);
    reference::unary(p, x.bytes.data(), expected.bytes.data());
    check_step("elementwise", "unary_f32", {&x}, expected, {}, std::to_string(shape.size()) + " axes",
               [&](const KernelOptions& o) { return prepare_unary(p, o); });
  }
}

TEST(Elementwise, UnaryRestoresTheBorderWhereTheFunctionOfZeroIsNotZero) {
  const UnaryProblem p{f32({1, 2, 5, 9}, {1, 1, 1, 1}), f32({1, 2, 5, 9}, {1, 1, 1, 1}), {ActivationKind::square, 0, 0}};
  UnaryProblem q = p;
  q.activation = {ActivationKind::clip, 1.0f, 2.0f};
  const Data x = random_data(p.input, 2);
  Data expected(p.output);
  reference::unary(q, x.bytes.data(), expected.bytes.data());
  check_step("elementwise", "unary_f32", {&x}, expected, {}, "clip to [1, 2]",
             [&](const KernelOptions& o) { return prepare_unary(q, o); });
}

TEST(Elementwise, UnaryInt8) {
  for (const std::vector<int>& shape : kShapes) {
    for (const ActivationKind kind : {ActivationKind::relu, ActivationKind::sigmoid, ActivationKind::hard_swish}) {
      const UnaryProblem p{s8(shape, {0.05f, 3}, {1, 2, 0, 1}), s8(shape, {0.02f, -20}, {0, 1, 1, 3}), {kind, 0, 0}};
      const Data x = random_data(p.input, 3);
      Data expected(p.output);
      reference::unary(p, x.bytes.data(), expected.bytes.data());
      check_step("elementwise", "unary_s8", {&x}, expected, {}, activation_name(kind),
                 [&](const KernelOptions& o) { return prepare_unary(p, o); });
    }
  }
}

TEST(Elementwise, AffineAndPrelu) {
  for (const std::vector<int>& shape : kShapes) {
    if (shape.size() < 2) continue;  // no channel axis: refused, see below
    const TensorDesc in = f32(shape, {1, 2, 0, 1}), out = f32(shape, {0, 1, 1, 3});
    const Data x = random_data(in, 4), scales = random_data(f32({shape[1]}), 5), shifts = random_data(f32({shape[1]}), 6);
    const Span<const float> scale(scales.floats(), shape[1]), shift(shifts.floats(), shape[1]);
    const AffineProblem p{in, out, {ActivationKind::relu, 0, 0}};
    Data expected(out);
    reference::affine(p, scale, shift, x.floats(), expected.floats());
    // x * scale below 16 rounds by up to 2^-21, which a fused operation saves.
    check_step("elementwise", "affine_f32", {&x}, expected, {1e-6f, std::ldexp(1.0f, -20)},
               std::to_string(shape.size()) + " axes",
               [&](const KernelOptions& o) { return prepare_affine(p, scale, shift, o); });
    Data linear(in);
    reference::affine({in, in, {}}, scale, shift, x.floats(), linear.floats());
    reference::prelu(in, out, scale, linear.floats(), expected.floats());
    fill_borders(expected.bytes.data(), out);
    // As above, times a slope below 4.
    check_step("elementwise", "affine_f32", {&x}, expected, {1e-6f, std::ldexp(1.0f, -18)},
               std::to_string(shape.size()) + " axes, slopes",
               [&](const KernelOptions& o) { return prepare_affine({in, out, {}}, scale, shift, o, scale); });
    reference::prelu(in, out, scale, x.floats(), expected.floats());
    fill_borders(expected.bytes.data(), out);
    check_step("elementwise", "prelu_f32", {&x}, expected, {}, std::to_string(shape.size()) + " axes",
               [&](const KernelOptions& o) { return prepare_prelu(in, out, scale, o); });
  }
}

// Steps that share a constant have copies of it, which count like packed weights.
TEST(Elementwise, CopiesOfConstantsAreCounted) {
  const TensorDesc t = f32({1, 1000, 1, 1});
  const std::vector<float> values(1000);
  EXPECT_EQ(prepare_affine({t, t, {}}, values, values, {})->packed_bytes(), 2 * 4000u);
  EXPECT_EQ(prepare_prelu(t, t, values, {})->packed_bytes(), 4000u);
}

struct Broadcast {
  const char* what;
  std::vector<int> a, b, y;
};

const Broadcast kBroadcasts[] = {
    {"one element", {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
    {"same shape", {2, 5, 7, 17}, {2, 5, 7, 17}, {2, 5, 7, 17}},
    {"squeeze and excite", {2, 6, 5, 15}, {2, 6, 1, 1}, {2, 6, 5, 15}},
    {"squeeze and excite, exchanged", {1, 7, 1, 1}, {2, 7, 3, 16}, {2, 7, 3, 16}},
    {"vectors of channels", {1, 9, 1, 1}, {1, 9, 1, 1}, {1, 9, 1, 1}},
    {"a scalar", {2, 3, 4, 5}, {}, {2, 3, 4, 5}},
    {"one number as a map", {1, 1, 1, 1}, {1, 6, 4, 5}, {1, 6, 4, 5}},
    {"one map for all channels", {2, 5, 3, 7}, {2, 1, 3, 7}, {2, 5, 3, 7}},
    {"one row", {1, 3, 4, 18}, {18}, {1, 3, 4, 18}},
    {"one column", {1, 3, 4, 18}, {4, 1}, {1, 3, 4, 18}},
    {"a matrix of channels", {1, 3, 4, 2}, {3, 1, 1}, {1, 3, 4, 2}},
    {"both repeat", {1, 5, 1, 3}, {2, 1, 4, 1}, {2, 5, 4, 3}},
    {"plain, same shape", {3, 1031}, {3, 1031}, {3, 1031}},
    {"plain, bias", {3, 5, 17}, {17}, {3, 5, 17}},
    {"plain, outer product", {7, 1}, {1, 9}, {7, 9}},
    {"plain, middle axis", {2, 3, 5}, {3, 1}, {2, 3, 5}},
    {"plain, a scalar", {5000}, {1}, {5000}},
    {"planar within five axes", {2, 3, 2, 5}, {4, 1, 1, 1, 1}, {4, 2, 3, 2, 5}},
    {"work for two threads", {1, 41, 33, 37}, {1, 41, 1, 1}, {1, 41, 33, 37}},
    {"plain work for two threads", {7, 6001}, {6001}, {7, 6001}},
    {"vectors for two threads", {40001}, {40001}, {40001}},
    {"no axes", {}, {}, {}},
};

TEST(Elementwise, BinaryFloatBroadcasts) {
  for (const Broadcast& c : kBroadcasts) {
    for (int f = 0; f < kBinaryFunctions; ++f) {
      const BinaryFunction function = static_cast<BinaryFunction>(f);
      const BinaryProblem p{
          f32(c.a, {1, 1, 1, 1}), f32(c.b, {0, 0, 1, 0}), f32(c.y, {2, 2, 0, 0}), function, {ActivationKind::relu, 0, 0}};
      const Data a = random_data(p.a, 7), b = random_data(p.b, 8);
      Data expected(p.output);
      reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
      check_step("elementwise", "binary_f32", {&a, &b}, expected, {}, c.what,
                 [&](const KernelOptions& o) { return prepare_binary(p, o); });
    }
  }
}

TEST(Elementwise, BinaryFloatOnEqualPitches) {  // the path over whole strips
  for (const Broadcast& c : kBroadcasts) {
    const BinaryProblem p{f32(c.a, {1, 1, 1, 1}), f32(c.b, {1, 1, 1, 1}), f32(c.y, {1, 1, 1, 1}), BinaryFunction::div, {}};
    const Data a = random_data(p.a, 9), b = random_data(p.b, 10);
    Data expected(p.output);
    reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
    check_step("elementwise", "binary_f32", {&a, &b}, expected, {}, c.what,
               [&](const KernelOptions& o) { return prepare_binary(p, o); });
  }
}

TEST(Elementwise, BinaryFloatSquaresAndSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const TensorDesc t = f32({40}), two = f32({1});
  Data a = random_data(t, 11), b(two);
  set_element(&a, 3, inf), set_element(&a, 20, -inf), set_element(&a, 39, std::numeric_limits<float>::quiet_NaN());
  for (int f = 0; f < kBinaryFunctions; ++f) {
    for (const float value : {2.0f, 0.0f, inf}) {
      set_element(&b, 0, value);
      const BinaryProblem p{t, two, t, static_cast<BinaryFunction>(f), {}};
      Data expected(t);
      reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
      check_step("elementwise", "binary_f32", {&a, &b}, expected, {0.0f, 1e-37f}, "special values",
                 [&](const KernelOptions& o) { return prepare_binary(p, o); });
    }
  }
}

// Whether the broadcast goes through the row kernels or element by element.
bool fast_s8(const BinaryProblem& p) { return prepare_binary(p, {Isa::scalar, ""})->info().kernel == "binary_s8_4_scalar"; }

TEST(Elementwise, BinaryInt8) {
  int fast = 0, slow = 0;
  for (const Broadcast& c : kBroadcasts) {
    for (const BinaryFunction function : {BinaryFunction::add, BinaryFunction::mul}) {
      for (const ActivationKind kind : {ActivationKind::none, ActivationKind::relu, ActivationKind::sigmoid}) {
        for (const Border border : {Border{1, 1, 1, 1}, Border{0, 3, 0, 0}}) {
          const BinaryProblem p{s8(c.a, {0.031f, 5}, {1, 1, 1, 1}),
                                s8(c.b, {0.02f, -9}, border),
                                s8(c.y, {0.041f, 17}, {1, 1, 1, 1}),
                                function,
                                {kind, 0, 0}};
          const Data a = random_data(p.a, 12), b = random_data(p.b, 13);
          Data expected(p.output);
          reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
          const char* operation = fast_s8(p) ? "binary_s8" : "broadcast_s8";
          ++(fast_s8(p) ? fast : slow);
          check_step("elementwise", operation, {&a, &b}, expected, {}, c.what,
                     [&](const KernelOptions& o) { return prepare_binary(p, o); });
        }
      }
    }
  }
  EXPECT_GT(fast, 0);
  EXPECT_GT(slow, 0);
}

TEST(Elementwise, BinaryInt8RoundsHalvesToEvenAndSaturates) {
  const TensorDesc t = s8({256}, {1.0f, 0});
  Data a(t), b(t);
  for (int i = 0; i < 256; ++i) a.bytes[i] = b.bytes[i] = static_cast<uint8_t>(i);
  for (const QuantParams out : {QuantParams{4.0f, 0}, QuantParams{4.0f, -3}, QuantParams{0.5f, 100}}) {
    const BinaryProblem p{t, t, s8({256}, out), BinaryFunction::add, {}};
    Data expected(p.output);
    reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
    check_step("elementwise", "binary_s8", {&a, &b}, expected, {}, "sums halved and doubled",
               [&](const KernelOptions& o) { return prepare_binary(p, o); });
  }
}

TEST(Elementwise, RefusesWhatDoesNotFit) {
  const KernelOptions o;
  EXPECT_THROW(prepare_unary({f32({3}), f32({4}), {}}, o), Error);
  EXPECT_THROW(prepare_unary({f32({3}), s8({3}, {}), {}}, o), Error);
  EXPECT_THROW(prepare_binary({f32({3}), f32({4}), f32({4}), BinaryFunction::add, {}}, o), Error);
  EXPECT_THROW(prepare_binary({s8({3}, {}), s8({3}, {}), s8({3}, {}), BinaryFunction::div, {}}, o), Error);
  const std::vector<float> three(3);
  EXPECT_THROW(prepare_prelu(f32({2, 4}), f32({2, 4}), three, o), Error);
  EXPECT_THROW(prepare_affine({f32({3}), f32({3}), {}}, three, three, o), Error);
}

}  // namespace
}  // namespace edgelane
