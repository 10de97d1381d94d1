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

using F = BinaryFunction;
constexpr F kFloatFunctions[] = {F::add, F::sub, F::mul, F::div, F::max, F::min, F::pow, F::mod, F::fmod, F::prelu};
constexpr F kComparisons[] = {F::equal, F::less, F::less_or_equal};

TEST(Elementwise, BinaryFloatBroadcasts) {
  for (const Broadcast& c : kBroadcasts) {
    for (const F function : kFloatFunctions) {
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
    for (const Border border : {Border{1, 1, 1, 1}, kDense}) {
      const BinaryProblem p{f32(c.a, border), f32(c.b, border), f32(c.y, border), BinaryFunction::div, {}};
      const Data a = random_data(p.a, 9), b = random_data(p.b, 10);
      Data expected(p.output);
      reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
      check_step("elementwise", "binary_f32", {&a, &b}, expected, {}, c.what,
                 [&](const KernelOptions& o) { return prepare_binary(p, o); });
    }
  }
}

TEST(Elementwise, BinaryFloatSquaresAndSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const TensorDesc t = f32({40}), two = f32({1});
  Data a = random_data(t, 11), b(two);
  set_element(&a, 3, inf), set_element(&a, 20, -inf), set_element(&a, 39, std::numeric_limits<float>::quiet_NaN());
  for (const F function : kFloatFunctions) {
    for (const float value : {2.0f, 0.0f, -1.5f, inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
      set_element(&b, 0, value);
      for (const bool exchanged : {false, true}) {
        const BinaryProblem p{exchanged ? two : t, exchanged ? t : two, t, function, {}};
        const Data &left = exchanged ? b : a, &right = exchanged ? a : b;
        Data expected(t);
        reference::binary(p, left.bytes.data(), right.bytes.data(), expected.bytes.data());
        check_step("elementwise", "binary_f32", {&left, &right}, expected, {0.0f, 1e-37f},
                   "function " + std::to_string(static_cast<int>(function)) + " of " + std::to_string(value),
                   [&](const KernelOptions& o) { return prepare_binary(p, o); });
      }
    }
  }
}

TEST(Elementwise, ComparisonsOfFloats) {
  for (const Broadcast& c : kBroadcasts) {
    for (const F function : kComparisons) {
      const BinaryProblem p{f32(c.a, {1, 1, 1, 1}), f32(c.b, {0, 0, 1, 0}), tensor(DType::boolean, c.y), function, {}};
      Data a = random_data(p.a, 7), b = random_data(p.b, 8);
      for (int i = 0; i < p.a.elements() && i < p.b.elements(); i += 3) {  // pairs that are equal, and NaN
        set_element(&a, i, i % 2 == 0 ? 0.5f : std::numeric_limits<float>::quiet_NaN());
        set_element(&b, i, i % 4 == 0 ? 0.5f : std::numeric_limits<float>::quiet_NaN());
      }
      Data expected(p.output);
      reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
      check_step("elementwise", "compare_f32", {&a, &b}, expected, {}, c.what,
                 [&](const KernelOptions& o) { return prepare_binary(p, o); });
    }
  }
}

// Whole numbers that are small half of the time, and the ends of the type; bools.
Data integer_data(const TensorDesc& t, int seed) {
  Data d(t);
  std::mt19937_64 random(static_cast<unsigned>(seed));
  for (int64_t i = 0; i < t.elements(); ++i) {
    int64_t v = static_cast<int64_t>(random());
    if (random() % 2 == 0) v = static_cast<int64_t>(random() % 13) - 6;
    if (random() % 9 == 0) v = t.dtype == DType::int32 ? INT32_MIN : INT64_MIN;
    if (random() % 9 == 0) v = t.dtype == DType::int32 ? INT32_MAX : INT64_MAX;
    if (t.dtype == DType::boolean) v = static_cast<int64_t>(random() % 2);
    reference::store_number(t, d.bytes.data(), i, {false, 0, v});
  }
  return d;
}

TEST(Elementwise, BinaryIntegersAndBools) {
  for (const Broadcast& c : kBroadcasts) {
    for (const DType dtype : {DType::int32, DType::int64, DType::boolean}) {
      const char* operation = dtype == DType::int32 ? "binary_s32" : dtype == DType::int64 ? "binary_s64" : "binary_bool";
      for (int f = 0; f < kBinaryFunctions; ++f) {
        const F function = static_cast<F>(f);
        const bool comparison = function >= F::equal && function <= F::less_or_equal;
        const bool logic = function >= F::logical_and && function <= F::logical_xor;
        if (function == F::prelu || (dtype == DType::boolean ? !logic && function != F::equal : logic)) continue;
        const BinaryProblem p{
            tensor(dtype, c.a), tensor(dtype, c.b), tensor(comparison ? DType::boolean : dtype, c.y), function, {}};
        const Data a = integer_data(p.a, 14);
        Data b = integer_data(p.b, 15);
        for (int64_t i = 0; i < p.b.elements() && function == F::pow; ++i)  // the reference multiplies as often
          reference::store_number(p.b, b.bytes.data(), i, {false, 0, reference::load_number(p.b, b.bytes.data(), i).whole % 41});
        Data expected(p.output);
        reference::binary(p, a.bytes.data(), b.bytes.data(), expected.bytes.data());
        check_step("elementwise", operation, {&a, &b}, expected, {}, std::string(c.what) + ", function " + std::to_string(f),
                   [&](const KernelOptions& o) { return prepare_binary(p, o); });
      }
    }
  }
}

// The rules of export/FORMAT.md, "Arithmetic", in numbers that are written out.
TEST(Elementwise, IntegerArithmeticNeverTraps) {
  const struct {
    F function;
    int64_t a, b, int32_result, int64_result;
  } cases[] = {
      {F::div, INT32_MIN, -1, INT32_MIN, -int64_t{INT32_MIN}},
      {F::div, 7, 0, 0, 0},
      {F::div, -7, 2, -3, -3},
      {F::mod, -7, 3, 2, 2},
      {F::mod, 7, -3, -2, -2},
      {F::mod, INT32_MIN, -1, 0, 0},
      {F::mod, 5, 0, 0, 0},
      {F::fmod, -7, 3, -1, -1},
      {F::fmod, INT32_MIN, -1, 0, 0},
      {F::add, INT32_MAX, 1, INT32_MIN, int64_t{INT32_MAX} + 1},
      {F::mul, INT32_MIN, -1, INT32_MIN, -int64_t{INT32_MIN}},
      {F::pow, 2, 31, INT32_MIN, int64_t{1} << 31},
      {F::pow, 3, -1, 0, 0},
      {F::pow, -1, -3, -1, -1},
      {F::pow, 0, 0, 1, 1},
      {F::pow, 0, -2, 0, 0},
      {F::shift_left, 1, 32, 0, int64_t{1} << 32},
      {F::shift_left, 1, -1, 0, 0},
      {F::shift_left, 1, 64, 0, 0},
      {F::shift_right, -1, 28, 15, (int64_t{1} << 36) - 1},
  };
  for (const auto& c : cases) {
    for (const DType dtype : {DType::int32, DType::int64}) {
      const TensorDesc t = tensor(dtype, {1});
      Data a(t), b(t), y(t);
      reference::store_number(t, a.bytes.data(), 0, {false, 0, c.a});
      reference::store_number(t, b.bytes.data(), 0, {false, 0, c.b});
      reference::store_number(t, y.bytes.data(), 0, {false, 0, dtype == DType::int32 ? c.int32_result : c.int64_result});
      check_step(
          "elementwise", dtype == DType::int32 ? "binary_s32" : "binary_s64", {&a, &b}, y, {},
          "function " + std::to_string(static_cast<int>(c.function)) + " of " + std::to_string(c.a) + ", " + std::to_string(c.b),
          [&](const KernelOptions& o) { return prepare_binary({t, t, t, c.function, {}}, o); });
    }
  }
  const TensorDesc lowest = tensor(DType::int64, {1});
  Data x(lowest);
  reference::store_number(lowest, x.bytes.data(), 0, {false, 0, INT64_MIN});
  for (const ActivationKind kind : {ActivationKind::abs, ActivationKind::neg}) {
    check_step("elementwise", "unary_s64", {&x}, x, {}, activation_name(kind),
               [&](const KernelOptions& o) { return prepare_unary({lowest, lowest, {kind, 0, 0}}, o); });
  }
}

TEST(Elementwise, UnaryIntegersAndBools) {
  using A = ActivationKind;
  const struct {
    DType dtype;
    const char* operation;
    std::vector<A> kinds;
  } cases[] = {
      {DType::int32, "unary_s32", {A::none, A::relu, A::abs, A::neg, A::sign}},
      {DType::int64, "unary_s64", {A::none, A::relu, A::abs, A::neg, A::sign}},
      {DType::boolean, "logical_not", {A::logical_not}},
  };
  for (const std::vector<int>& shape : kShapes) {
    for (const auto& c : cases) {
      for (const A kind : c.kinds) {
        const TensorDesc t = tensor(c.dtype, shape);
        const Data x = integer_data(t, 16);
        Data expected(t);
        reference::unary({t, t, {kind, 0, 0}}, x.bytes.data(), expected.bytes.data());
        check_step("elementwise", c.operation, {&x}, expected, {}, activation_name(kind),
                   [&](const KernelOptions& o) { return prepare_unary({t, t, {kind, 0, 0}}, o); });
      }
    }
  }
}

TEST(Elementwise, TestsForNanAndInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::vector<int>& shape : kShapes) {
    const TensorDesc in = f32(shape, {1, 2, 0, 1}), out = tensor(DType::boolean, shape);
    Data x = random_data(in, 17);
    const float values[] = {inf, -inf, std::numeric_limits<float>::quiet_NaN(), 3e38f};
    for (int i = 0; i < in.elements(); i += 2) set_element(&x, i, values[i / 2 % 4]);
    for (const Activation a : {Activation{ActivationKind::is_nan, 0, 0}, Activation{ActivationKind::is_inf, 1, 1},
                               Activation{ActivationKind::is_inf, 1, 0}, Activation{ActivationKind::is_inf, 0, 1}}) {
      Data expected(out);
      reference::unary({in, out, a}, x.bytes.data(), expected.bytes.data());
      check_step("elementwise", "test_f32", {&x}, expected, {}, activation_name(a.kind),
                 [&](const KernelOptions& o) { return prepare_unary({in, out, a}, o); });
    }
  }
}

TEST(Elementwise, WhereOfEveryDtype) {
  for (const Broadcast& c : kBroadcasts) {
    for (const DType dtype : {DType::float32, DType::int8, DType::int32, DType::int64, DType::boolean, DType::uint8}) {
      const size_t bytes = dtype_bytes(dtype);
      const char* operation = bytes == 1 ? "where_x8" : bytes == 4 ? "where_x32" : "where_x64";
      const QuantParams q{0.5f, -3};
      const auto check = [&](const std::vector<int>& condition, const std::vector<int>& a, const std::vector<int>& b) {
        const WhereProblem p{tensor(DType::boolean, condition), tensor(dtype, a, {1, 1, 1, 1}, q),
                             tensor(dtype, b, {0, 0, 1, 0}, q), tensor(dtype, c.y, {1, 1, 1, 1}, q)};
        const Data from = integer_data(p.condition, 18), x = random_data(p.a, 19), y = random_data(p.b, 20);
        Data expected(p.output);
        reference::where(p, from.bytes.data(), x.bytes.data(), y.bytes.data(), expected.bytes.data());
        check_step("elementwise", operation, {&from, &x, &y}, expected, {}, std::string(c.what) + ", " + dtype_name(dtype),
                   [&](const KernelOptions& o) { return prepare_where(p, o); });
      };
      check(c.y, c.a, c.b);
      check(c.a, c.b, c.y);
      check(c.b, c.y, {});
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
  EXPECT_THROW(prepare_unary({f32({3}), f32({3}), {ActivationKind::is_nan, 0, 0}}, o), Error);
  const TensorDesc whole = tensor(DType::int32, {3}), flags = tensor(DType::boolean, {3});
  EXPECT_THROW(prepare_unary({whole, whole, {ActivationKind::exp, 0, 0}}, o), Error);
  EXPECT_THROW(prepare_binary({whole, whole, whole, BinaryFunction::prelu, {}}, o), Error);
  EXPECT_THROW(prepare_binary({whole, whole, whole, BinaryFunction::less, {}}, o), Error);
  EXPECT_THROW(prepare_binary({whole, whole, whole, BinaryFunction::add, {ActivationKind::relu, 0, 0}}, o), Error);
  EXPECT_THROW(prepare_binary({flags, flags, flags, BinaryFunction::add, {}}, o), Error);
  EXPECT_THROW(prepare_where({whole, whole, whole, whole}, o), Error);
  EXPECT_THROW(prepare_where({flags, whole, f32({3}), whole}, o), Error);
  EXPECT_THROW(prepare_where({flags, whole, tensor(DType::int32, {2}), whole}, o), Error);
  EXPECT_THROW(prepare_where({flags, s8({3}, {1, 0}), s8({3}, {2, 0}), s8({3}, {1, 0})}, o), Error);
  const std::vector<float> three(3);
  EXPECT_THROW(prepare_prelu(f32({2, 4}), f32({2, 4}), three, o), Error);
  EXPECT_THROW(prepare_affine({f32({3}), f32({3}), {}}, three, three, o), Error);
}

}  // namespace
}  // namespace edgelane
