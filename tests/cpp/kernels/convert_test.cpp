#include "kernels/convert/convert.hpp"

#include <limits>

#include "kernels/check.hpp"
#include "kernels/convert/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

const std::vector<std::vector<int>> kShapes = {
    {1, 1, 1, 1}, {2, 5, 3, 17}, {1, 3, 15, 15}, {1, 8, 4, 16}, {2, 7, 1, 1}, {37}, {3, 1100}, {}, {1, 41, 33, 37}, {40001}};

using PrepareConversion = std::unique_ptr<PreparedKernel> (*)(const TensorDesc&, const TensorDesc&, const KernelOptions&);

void check_conversion(const char* operation, PrepareConversion prepare, const Data& x, const TensorDesc& output,
                      const std::string& what) {
  Data expected(output);
  reference::convert(x.desc, output, x.bytes.data(), expected.bytes.data());
  check_step("convert", operation, {&x}, expected, {}, what, [&](const KernelOptions& o) { return prepare(x.desc, output, o); });
}

TEST(Convert, EveryLayoutIsExact) {
  for (const std::vector<int>& shape : kShapes) {
    for (const Border out : {Border{1, 1, 1, 1}, Border{0, 2, 1, 0}}) {
      const Border in{1, 1, 1, 1};
      const QuantParams q{0.0237f, -13};
      const std::string what = std::to_string(shape.size()) + " axes";
      check_conversion("quantize_f32", prepare_quantize, random_data(f32(shape, in), 1), s8(shape, q, out), what);
      check_conversion("dequantize_s8", prepare_dequantize, random_data(s8(shape, q, in), 2), f32(shape, out), what);
      check_conversion("requantize_s8", prepare_requantize, random_data(s8(shape, q, in), 3), s8(shape, {0.05f, 40}, out), what);
    }
  }
}

TEST(Convert, QuantizeRoundsHalvesToEvenSaturatesAndMapsNanToTheZeroPoint) {
  const float inf = std::numeric_limits<float>::infinity();
  Data x(f32({1, 4, 4, 16}));
  for (int i = 0; i < 256; ++i) set_element(&x, i, (static_cast<float>(i) - 128.0f) * 0.5f);
  set_element(&x, 0, inf), set_element(&x, 17, -inf), set_element(&x, 70, std::numeric_limits<float>::quiet_NaN());
  set_element(&x, 100, 1e30f), set_element(&x, 131, -1e30f), set_element(&x, 255, 1e-42f);
  for (const QuantParams q : {QuantParams{1.0f, 0}, QuantParams{1.0f, 127}, QuantParams{0.25f, -128}, QuantParams{1e-30f, 5}}) {
    check_conversion("quantize_f32", prepare_quantize, x, s8({1, 4, 4, 16}, q), "ties");
  }
}

constexpr DType kDTypes[] = {DType::float32, DType::int8, DType::int32, DType::int64, DType::boolean, DType::uint8};

// Small numbers, ones that other dtypes do not hold, and both bools.
Data mixed_data(const TensorDesc& t, int seed) {
  Data d = random_data(t, seed);
  const ElementOffsets offsets(t);
  std::mt19937 random(static_cast<unsigned>(seed));
  int i[kMaxRank] = {};
  do {
    const int64_t at = offsets(i, t.rank);
    const int64_t small = static_cast<int64_t>(random() % 700) - 350;
    const bool is_small = random() % 3 != 0;
    if (t.dtype == DType::float32 && is_small) d.floats()[at] = static_cast<float>(small) * 0.75f;
    if (t.dtype == DType::float32 && !is_small) d.floats()[at] = std::ldexp(d.floats()[at], static_cast<int>(random() % 90) - 20);
    if ((t.dtype == DType::int32 || t.dtype == DType::int64) && is_small)
      reference::store_number(t, d.bytes.data(), at, {false, 0, small});
    if (t.dtype == DType::boolean) d.bytes[at] = small > 0 ? 1 : 0;
  } while (next_index(i, t.dims, t.rank));
  return d;
}

TEST(Convert, CastOfEveryDtypeToEveryDtype) {
  std::vector<std::vector<int>> shapes = kShapes;
  shapes.insert(shapes.end(), {{2, 3, 5, 7, 2}, {1, 9, 1, 1}, {1, 1, 5, 1}, {2, 2, 3, 1, 2, 5}});
  int seed = 0;
  for (const std::vector<int>& shape : shapes) {
    for (const DType from : kDTypes) {
      for (const DType to : kDTypes) {
        const TensorDesc in = tensor(from, shape, {1, 1, 1, 1}, {0.5f, 7}), out = tensor(to, shape, {0, 2, 1, 0}, {0.25f, -3});
        const Data x = mixed_data(in, ++seed);
        Data expected(out);
        reference::cast(in, out, x.bytes.data(), expected.bytes.data());
        const bool bytes = to == DType::float32 && dtype_bytes(from) == 1;
        const char* operation = !bytes ? "cast" : in.planar() ? "dequantize_s8" : "cast_bytes";
        check_step("convert", operation, {&x}, expected, {}, shape_text(in) + " to " + dtype_name(to),
                   [&](const KernelOptions& o) { return prepare_cast(in, out, o); });
      }
    }
  }
}

TEST(Convert, CastOfFloatsThatAreOutOfRange) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values = {nan,   inf,    -inf,    0.0f,     -0.0f,          0.9f,
                                     -0.9f, 300.7f, -129.0f, 0x1p31f,  -0x1p31f,       -0x1.000002p31f,
                                     3e38f, -3e38f, 0x1p63f, -0x1p63f, 0x1.fffffep62f, 1e-45f};
  constexpr int64_t kMax32 = INT32_MAX, kMin32 = INT32_MIN, kMax64 = INT64_MAX, kMin64 = INT64_MIN, k31 = int64_t{1} << 31;
  const std::vector<int64_t> as_int32 = {0,      kMax32, kMin32, 0,      0,      0,      0,      300,    -129,
                                         kMax32, kMin32, kMin32, kMax32, kMin32, kMax32, kMin32, kMax32, 0};
  const std::vector<int64_t> as_int64 = {
      0, kMax64, kMin64, 0, 0, 0, 0, 300, -129, k31, -k31, -k31 - 256, kMax64, kMin64, kMax64, kMin64, 0x7fffff8000000000ll, 0};
  const TensorDesc t = f32({18});
  Data x(t);
  for (size_t i = 0; i < values.size(); ++i) x.floats()[i] = values[i];
  for (const DType to : {DType::int32, DType::int64, DType::int8, DType::uint8, DType::boolean}) {
    const TensorDesc out = tensor(to, {18});
    Data expected(out);
    for (int i = 0; i < 18; ++i) {
      const size_t k = static_cast<size_t>(i);
      const int64_t whole = to == DType::boolean ? values[k] != 0.0f : to == DType::int64 ? as_int64[k] : as_int32[k];
      reference::store_number(out, expected.bytes.data(), i, {false, 0, whole});
    }
    check_step("convert", "cast", {&x}, expected, {}, dtype_name(to),
               [&](const KernelOptions& o) { return prepare_cast(t, out, o); });
  }
}

TEST(Convert, RecodeInEveryLayout) {
  std::vector<std::vector<int>> shapes = kShapes;
  shapes.insert(shapes.end(), {{2, 3, 5, 70}, {1, 4, 9, 33}, {1, 3, 200, 200}});
  for (const std::vector<int>& shape : shapes) {
    for (const Border border : {Border{1, 1, 1, 1}, Border{}}) {
      const TensorDesc u8 = tensor(DType::uint8, shape), q = s8(shape, {0.5f, -9}, border);
      const Data x = random_data(u8, 21), y = random_data(q, 22);
      Data to_int8(q), to_uint8(u8);
      reference::recode(u8, q, x.bytes.data(), to_int8.bytes.data());
      reference::recode(q, u8, y.bytes.data(), to_uint8.bytes.data());
      check_step("convert", "recode", {&x}, to_int8, {}, shape_text(u8),
                 [&](const KernelOptions& o) { return prepare_recode(u8, q, o); });
      check_step("convert", "recode", {&y}, to_uint8, {}, shape_text(q),
                 [&](const KernelOptions& o) { return prepare_recode(q, u8, o); });
    }
  }
}

TEST(Convert, RefusesOtherDtypesAndShapes) {
  const KernelOptions o;
  EXPECT_THROW(prepare_quantize(f32({3}), f32({3}), o), Error);
  EXPECT_THROW(prepare_dequantize(s8({3}, {}), f32({4}), o), Error);
  EXPECT_THROW(prepare_requantize(f32({3}), s8({3}, {}), o), Error);
  EXPECT_THROW(prepare_cast(f32({3}), s8({4}, {}), o), Error);
  EXPECT_THROW(prepare_recode(f32({3}), s8({3}, {}), o), Error);
  EXPECT_THROW(prepare_recode(s8({3}, {}), s8({3}, {}), o), Error);
}

}  // namespace
}  // namespace edgelane
