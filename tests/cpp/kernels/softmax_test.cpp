#include "kernels/softmax/softmax.hpp"

#include <limits>

#include "kernels/softmax/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

void check_softmax(const Data& x, const TensorDesc& output, int axis, const std::string& what) {
  for (const bool log : {false, true}) {
    Data expected(output);
    reference::softmax(x.desc, output, axis, log, x.floats(), expected.floats());
    // The exponentials are off by 8 * 2^-24 (activation_test.cpp), their sum by as much and by its own roundings. The logarithm
    // of a sum that is off by r is off by r, whatever its size; below the smallest normal number bits are lost.
    const Tolerance tolerance = log ? Tolerance{2e-6f, 2e-6f} : Tolerance{3e-6f, 2e-38f};
    check_step("softmax", log ? "log_softmax_f32" : "softmax_f32", {&x}, expected, tolerance, what,
               [&](const KernelOptions& o) { return prepare_softmax(x.desc, output, axis, log, o); });
  }
}

TEST(Softmax, EveryAxisOfEveryLayout) {
  const std::vector<std::vector<int>> shapes = {
      {1},           {1000},          {3, 17},         {2, 5, 31}, {1, 1, 1, 1}, {2, 21, 5, 15},
      {1, 3, 9, 16}, {2, 2, 3, 2, 3}, {1, 21, 45, 47}, {45, 1001}};
  for (const std::vector<int>& shape : shapes) {
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
      const std::string what = "axis " + std::to_string(axis) + " of " + std::to_string(shape.size());
      check_softmax(random_data(f32(shape, {1, 0, 0, 2}), axis), f32(shape, {0, 1, 2, 1}), axis, what);
      if (shape.size() == 4) check_softmax(random_data(f32(shape, kDense), axis), f32(shape, kDense), axis, what + ", dense");
    }
  }
}

TEST(Softmax, LargeNumbersDoNotOverflow) {
  Data x = random_data(f32({2, 19}), 5);
  set_element(&x, 3, 1e4f), set_element(&x, 18, -3e38f), set_element(&x, 25, -1e4f);
  check_softmax(x, f32({2, 19}), 1, "large numbers");
  set_element(&x, 30, -std::numeric_limits<float>::infinity());
  check_softmax(x, f32({2, 19}), 1, "a masked element");
  for (int i = 0; i < 16; ++i) set_element(&x, i, -std::numeric_limits<float>::infinity());
  check_softmax(x, f32({2, 19}), 1, "a row with few elements that are not masked");
}

// As in ONNX Runtime: nothing is left that could be chosen.
TEST(Softmax, RowsThatAreMaskedWhollyAreNan) {
  for (const int n : {3, 49, 197}) {
    Data x = random_data(f32({3, n}), 5);
    for (int i = n; i < 2 * n; ++i) set_element(&x, i, -std::numeric_limits<float>::infinity());
    for (const KernelOptions& options : runnable("softmax", "softmax_f32")) {
      const Data y = run_step(*prepare_softmax(x.desc, x.desc, 1, false, options), {&x}, x.desc, 1);
      for (int i = 0; i < 3 * n; ++i) ASSERT_EQ(std::isnan(y.floats()[i]), i / n == 1) << options.kernel << ", element " << i;
    }
  }
}

// Masks take elements away by -inf or by a large negative number: what they leave is exactly 0.
TEST(Softmax, MaskedElementsAreZero) {
  Data x = random_data(f32({1, 100}), 5);
  for (int i = 0; i < 100; i += 3) set_element(&x, i, i % 2 != 0 ? -1e9f : -std::numeric_limits<float>::infinity());
  for (const KernelOptions& options : runnable("softmax", "softmax_f32")) {
    const Data y = run_step(*prepare_softmax(x.desc, x.desc, 1, false, options), {&x}, x.desc, 1);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(y.floats()[i] == 0.0f, i % 3 == 0) << options.kernel << ", element " << i;
  }
}

TEST(Softmax, RefusesAnAxisThatIsNotThere) { EXPECT_THROW(prepare_softmax(f32({3}), f32({3}), 1, false, {}), Error); }

}  // namespace
}  // namespace edgelane
