#include "kernels/convert/convert.hpp"

#include <limits>

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

TEST(Convert, RefusesOtherDtypesAndShapes) {
  const KernelOptions o;
  EXPECT_THROW(prepare_quantize(f32({3}), f32({3}), o), Error);
  EXPECT_THROW(prepare_dequantize(s8({3}, {}), f32({4}), o), Error);
  EXPECT_THROW(prepare_requantize(f32({3}), s8({3}, {}), o), Error);
}

}  // namespace
}  // namespace edgelane
