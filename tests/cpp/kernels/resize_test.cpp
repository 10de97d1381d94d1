#include "kernels/resize/resize.hpp"

#include "kernels/resize/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;
using Mode = ResizeProblem::Mode;
using Coordinates = ResizeProblem::Coordinates;
using Nearest = ResizeProblem::Nearest;

struct Sizes {
  int in_h, in_w, out_h, out_w;
};
constexpr Sizes kSizes[] = {{1, 1, 1, 1},
                            {1, 1, 5, 3},
                            {7, 5, 14, 10},
                            {13, 17, 31, 29},
                            {16, 16, 4, 5},
                            {9, 33, 1, 1},
                            {3, 4, 3, 4},
                            {33, 35, 66, 70},
                            // two, four and less than once the columns; more of them than neighbouring vectors hold
                            {12, 20, 24, 40},
                            {5, 40, 20, 160},
                            {6, 67, 5, 61},
                            {3, 200, 4, 37}};

ResizeProblem problem(const Sizes& s, Mode mode, Coordinates coordinates, Nearest nearest, const TensorDesc& in,
                      const TensorDesc& out) {
  ResizeProblem p;
  p.mode = mode;
  p.coordinates = coordinates;
  p.nearest = nearest;
  p.input = in;
  p.output = out;
  p.scale_h = static_cast<float>(s.out_h) / static_cast<float>(s.in_h);
  p.scale_w = static_cast<float>(s.out_w) / static_cast<float>(s.in_w);
  return p;
}

void check_resize(const ResizeProblem& p, Tolerance tolerance, const std::string& what) {
  const Data x = random_data(p.input, 1);
  Data expected(p.output);
  reference::resize(p, x.bytes.data(), expected.bytes.data());
  check_step("resize", p.input.int8() ? "resize_s8" : "resize_f32", {&x}, expected, tolerance, what,
             [&](const KernelOptions& o) { return prepare_resize(p, o); });
}

TEST(Resize, EveryModeAndSize) {
  for (const Sizes& s : kSizes) {
    for (int c = 0; c < 4; ++c) {
      const Coordinates coordinates = static_cast<Coordinates>(c);
      const std::string what = std::to_string(s.in_h) + " to " + std::to_string(s.out_h) + ", coordinates " + std::to_string(c);
      const TensorDesc in = f32({2, 5, s.in_h, s.in_w}, {1, 2, 0, 1}), out = f32({2, 5, s.out_h, s.out_w}, {0, 1, 1, 3});
      // Four or sixteen products of numbers below 4 whose weights add up to less than 2 in magnitude per axis.
      check_resize(problem(s, Mode::linear, coordinates, {}, in, out), {1e-6f, 3e-6f}, "linear " + what);
      check_resize(problem(s, Mode::cubic, coordinates, {}, in, out), {1e-6f, 1e-5f}, "cubic " + what);
      for (int n = 0; n < 4; ++n) {
        check_resize(problem(s, Mode::nearest, coordinates, static_cast<Nearest>(n), in, out), {}, "nearest " + what);
        const TensorDesc in8 = s8({2, 5, s.in_h, s.in_w}, {0.1f, 4}, {1, 2, 0, 1});
        const TensorDesc out8 = s8({2, 5, s.out_h, s.out_w}, {0.1f, 4}, {0, 1, 1, 3});
        check_resize(problem(s, Mode::nearest, coordinates, static_cast<Nearest>(n), in8, out8), {}, "int8 nearest " + what);
      }
    }
  }
}

TEST(Resize, KnownValues) {  // computed by hand from the definition
  ResizeProblem p = problem({1, 2, 1, 4}, Mode::linear, Coordinates::half_pixel, {}, f32({1, 1, 1, 2}), f32({1, 1, 1, 4}));
  Data x(p.input);
  set_element(&x, 0, 0.0f), set_element(&x, 1, 4.0f);
  fill_borders(x.bytes.data(), p.input);
  const auto row = [&] {
    const Data y = run_step(*prepare_resize(p, {Isa::scalar, ""}), {&x}, p.output, 1);
    const float* first = y.floats() + p.output.layout.origin;
    return std::vector<float>(first, first + 4);
  };
  EXPECT_EQ(row(), (std::vector<float>{0.0f, 1.0f, 3.0f, 4.0f}));
  p.coordinates = Coordinates::asymmetric;
  EXPECT_EQ(row(), (std::vector<float>{0.0f, 2.0f, 4.0f, 4.0f}));
  p.mode = Mode::nearest;
  p.nearest = Nearest::floor;
  EXPECT_EQ(row(), (std::vector<float>{0.0f, 0.0f, 4.0f, 4.0f}));
  p.nearest = Nearest::round_prefer_ceil;
  EXPECT_EQ(row(), (std::vector<float>{0.0f, 4.0f, 4.0f, 4.0f}));
}

TEST(Resize, TablesAreCounted) {
  const TensorDesc in = f32({1, 1, 100, 100}), out = f32({1, 1, 400, 300});
  EXPECT_GE(prepare_resize(problem({100, 100, 400, 300}, Mode::linear, {}, {}, in, out), {})->packed_bytes(), 700 * 16u);
}

TEST(Resize, RefusesWhatItCannotDo) {
  const KernelOptions o;
  const TensorDesc in = s8({1, 1, 2, 2}, {}), out = s8({1, 1, 4, 4}, {});
  EXPECT_THROW(prepare_resize(problem({2, 2, 4, 4}, Mode::linear, {}, {}, in, out), o), Error);
  EXPECT_THROW(prepare_resize(problem({2, 2, 4, 4}, Mode::linear, {}, {}, f32({1, 1, 2, 2}), f32({1, 2, 4, 4})), o), Error);
}

}  // namespace
}  // namespace edgelane
