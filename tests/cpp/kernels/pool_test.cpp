#include "kernels/pool/pool.hpp"

#include <limits>

#include "kernels/pool/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;
using Kind = PoolProblem::Kind;

struct Window {
  const char* what;
  int batch, channels, height, width;
  int kernel_h, kernel_w, stride_h, stride_w;
  int pads[4];  // top left bottom right
  int dilation_h, dilation_w;
  bool ceil_mode;
};

constexpr Window kWindows[] = {
    {"one pixel", 1, 1, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0}, 1, 1, false},
    {"ResNet's stem", 1, 5, 17, 31, 3, 3, 2, 2, {1, 1, 1, 1}, 1, 1, false},
    {"vector minus one", 2, 3, 4, 15, 3, 3, 1, 1, {1, 1, 1, 1}, 1, 1, false},
    {"vector plus one", 1, 4, 5, 17, 2, 2, 1, 1, {0, 0, 0, 0}, 1, 1, false},
    {"two by two", 1, 8, 14, 34, 2, 2, 2, 2, {0, 0, 0, 0}, 1, 1, false},
    {"ceil mode past the right and lower edge", 1, 7, 8, 8, 3, 3, 2, 2, {0, 0, 0, 0}, 1, 1, true},
    {"ceil mode with pads", 2, 6, 7, 10, 3, 2, 2, 3, {1, 0, 1, 1}, 1, 1, true},
    {"dilated", 1, 3, 13, 13, 3, 3, 1, 2, {2, 2, 2, 2}, 2, 2, false},
    {"stride 3", 1, 2, 19, 23, 5, 4, 3, 3, {2, 1, 2, 2}, 1, 1, false},
    {"wide window", 1, 2, 13, 13, 13, 13, 1, 1, {6, 6, 6, 6}, 1, 1, false},
    {"flat window", 1, 2, 9, 40, 1, 7, 1, 1, {0, 3, 0, 3}, 1, 1, false},
    {"stride beyond the window", 1, 3, 11, 29, 1, 1, 4, 2, {0, 0, 0, 0}, 1, 1, false},
    {"work for two threads", 1, 37, 33, 41, 3, 3, 1, 1, {1, 1, 1, 1}, 1, 1, false},
    {"tall window", 1, 2, 40, 9, 31, 3, 1, 2, {15, 1, 15, 1}, 1, 1, false},
    {"one tile of the line is not enough", 1, 1, 2, 9000, 2, 3, 1, 2, {0, 1, 0, 1}, 1, 1, false},
    {"ResNet's stem with vectors of windows", 1, 3, 9, 80, 3, 3, 2, 2, {1, 1, 1, 1}, 1, 1, false},
    {"a vector of windows exactly", 1, 2, 8, 33, 3, 3, 2, 2, {0, 0, 0, 0}, 1, 1, false},
    {"several windows past both edges", 1, 2, 5, 60, 3, 3, 2, 2, {2, 2, 2, 2}, 1, 1, true},
    {"padded on the right only", 1, 2, 6, 70, 5, 3, 3, 2, {0, 0, 1, 1}, 1, 1, false},
};

int pooled(int size, int pads, int kernel, int dilation, int stride, bool ceil_mode) {
  const int range = size + pads - (kernel - 1) * dilation - 1;
  return (range + (ceil_mode ? stride - 1 : 0)) / stride + 1;
}

PoolProblem problem(const Window& w, Kind kind, bool int8, Border in, Border out, QuantParams qin, QuantParams qout) {
  PoolProblem p;
  p.kind = kind;
  p.kernel_h = w.kernel_h, p.kernel_w = w.kernel_w, p.stride_h = w.stride_h, p.stride_w = w.stride_w;
  p.pad_top = w.pads[0], p.pad_left = w.pads[1], p.pad_bottom = w.pads[2], p.pad_right = w.pads[3];
  if (kind == Kind::max) p.dilation_h = w.dilation_h, p.dilation_w = w.dilation_w;
  const int height = pooled(w.height, w.pads[0] + w.pads[2], w.kernel_h, p.dilation_h, w.stride_h, w.ceil_mode);
  const int width = pooled(w.width, w.pads[1] + w.pads[3], w.kernel_w, p.dilation_w, w.stride_w, w.ceil_mode);
  const DType dtype = int8 ? DType::int8 : DType::float32;
  p.input = tensor(dtype, {w.batch, w.channels, w.height, w.width}, in, qin);
  p.output = tensor(dtype, {w.batch, w.channels, height, width}, out, qout);
  return p;
}

void check_pool(const PoolProblem& p, const Data& x, const std::string& operation, Tolerance tolerance, const std::string& what) {
  Data expected(p.output);
  reference::pool(p, x.bytes.data(), expected.bytes.data());
  check_step("pool", operation, {&x}, expected, tolerance, what, [&](const KernelOptions& o) { return prepare_pool(p, o); });
}

TEST(Pool, MaxFloat) {
  for (const Window& w : kWindows) {
    const PoolProblem p = problem(w, Kind::max, false, {1, 2, 3, 1}, {0, 1, 0, 2}, {}, {});
    check_pool(p, random_data(p.input, 1), "max_pool_f32", {}, w.what);
  }
}

TEST(Pool, MaxFloatOfInfinitiesAndNan) {
  for (const Window& w : kWindows) {
    const PoolProblem p = problem(w, Kind::max, false, {}, {}, {}, {});
    Data x = random_data(p.input, 2);
    const int elements = w.batch * w.channels * w.height * w.width;
    for (int i = 0; i < elements; ++i) {
      if (i % 120 == 7) set_element(&x, i, std::numeric_limits<float>::infinity());
      if (i % 120 == 40) set_element(&x, i, std::numeric_limits<float>::quiet_NaN());
      if (i % 120 >= 60) set_element(&x, i, -std::numeric_limits<float>::infinity());
    }
    check_pool(p, x, "max_pool_f32", {}, w.what);
  }
}

TEST(Pool, MaxOfWindowsWithoutAnyPixel) {  // whose taps lie on both sides of the image
  const Window w = {"no pixel", 1, 3, 3, 3, 2, 2, 1, 1, {4, 4, 4, 4}, 4, 4, false};
  const PoolProblem f = problem(w, Kind::max, false, {}, {1, 1, 1, 1}, {}, {});
  check_pool(f, random_data(f.input, 10), "max_pool_f32", {}, w.what);
  const PoolProblem q = problem(w, Kind::max, true, {}, {1, 1, 1, 1}, {0.1f, -7}, {0.1f, -7});
  check_pool(q, random_data(q.input, 11), "max_pool_s8", {}, w.what);
}

TEST(Pool, MaxInt8) {
  const QuantParams q{0.1f, -7};
  for (const Window& w : kWindows) {
    const PoolProblem p = problem(w, Kind::max, true, {0, 0, 1, 3}, {1, 1, 1, 1}, q, q);
    check_pool(p, random_data(p.input, 3), "max_pool_s8", {}, w.what);
  }
}

TEST(Pool, AverageFloat) {
  for (const Window& w : kWindows) {
    for (bool include_pad : {false, true}) {
      PoolProblem p = problem(w, Kind::average, false, {1, 1, 1, 1}, {2, 0, 0, 1}, {}, {});
      p.count_include_pad = include_pad;
      // A sum of k numbers below 4 in float32 is off by at most k * k * 4 * 2^-24, its mean by k * 4 * 2^-24; k <= 169.
      const float absolute = static_cast<float>(w.kernel_h * w.kernel_w) * 4.0f * std::ldexp(1.0f, -24);
      check_pool(p, random_data(p.input, 4), "average_pool_f32", {1e-7f, absolute}, w.what);
    }
  }
}

TEST(Pool, AverageInt8) {
  for (const Window& w : kWindows) {
    for (bool include_pad : {false, true}) {
      PoolProblem p = problem(w, Kind::average, true, {}, {1, 2, 1, 2}, {0.05f, 3}, {0.031f, -11});
      p.count_include_pad = include_pad;
      check_pool(p, random_data(p.input, 5), "average_pool_s8", {}, w.what);
    }
  }
}

TEST(Pool, AverageInt8RoundsHalvesToEvenAndSaturates) {
  PoolProblem p = problem(kWindows[4], Kind::average, true, {}, {}, {1.0f, 0}, {2.0f, 0});  // fourths of a sum, halved: many ties
  check_pool(p, random_data(p.input, 6), "average_pool_s8", {}, "ties");
  p.output.quant = {0.01f, 0};
  check_pool(p, random_data(p.input, 7), "average_pool_s8", {}, "saturation");
}

TEST(Pool, GlobalAverage) {
  const int shapes[][4] = {{1, 1, 1, 1}, {2, 5, 7, 7}, {1, 3, 1, 17}, {1, 6, 13, 15}, {1, 4, 31, 33}, {1, 38, 33, 33}};
  for (const auto& s : shapes) {
    for (const Border border : {Border{}, Border{1, 3, 2, 1}}) {
      PoolProblem p;
      p.kind = Kind::global_average;
      p.input = f32({s[0], s[1], s[2], s[3]}, border);
      p.output = f32({s[0], s[1], 1, 1}, {1, 0, 0, 2});
      // Up to 1023 numbers below 4: the mean of partial sums in 16 lanes, off by about sqrt(1023) * 4 * 2^-24.
      check_pool(p, random_data(p.input, 8), "global_average_pool_f32", {1e-6f, 8e-6f}, "float");
      p.input = s8({s[0], s[1], s[2], s[3]}, {0.1f, 9}, border);
      p.output = s8({s[0], s[1], 1, 1}, {0.02f, -100}, {0, 1, 0, 0});
      check_pool(p, random_data(p.input, 9), "global_average_pool_s8", {}, "int8");
    }
  }
}

// Every output row counts another number of rows; the counts of a window are kept by row and by column, not for each window.
TEST(Pool, CountsTakeLittleMemory) {
  const Window w = {"tall", 1, 1, 2000, 1500, 1001, 1, 1, 1, {500, 0, 500, 0}, 1, 1, false};
  const PoolProblem p = problem(w, Kind::average, false, {}, {}, {}, {});
  const size_t bytes = prepare_pool(p, {Isa::scalar, ""})->packed_bytes();
  EXPECT_GE(bytes, (2000 + 1500) * sizeof(float));
  EXPECT_LE(bytes, (2000 + 1500) * 16u);
}

TEST(Pool, RefusesWhatItCannotDo) {
  PoolProblem p = problem(kWindows[1], Kind::max, false, {}, {}, {}, {});
  p.kernel_w = 5000;
  EXPECT_THROW(prepare_pool(p, {Isa::scalar, ""}), Error);
  p = problem(kWindows[1], Kind::max, true, {}, {}, {0.1f, 0}, {0.2f, 0});
  EXPECT_THROW(prepare_pool(p, {Isa::scalar, ""}), Error);
  const Window huge = {"sums past int32", 1, 1, 3000, 3000, 3000, 3000, 1, 1, {0, 0, 0, 0}, 1, 1, false};
  p = problem(huge, Kind::average, true, {}, {}, {0.1f, 0}, {0.1f, 0});
  EXPECT_THROW(prepare_pool(p, {Isa::scalar, ""}), Error);
  p = problem(kWindows[1], Kind::max, false, {}, {}, {}, {});
  EXPECT_THROW(prepare_pool(p, {Isa::scalar, "max_pool_s8_4_scalar"}), Error);
}

}  // namespace
}  // namespace edgelane
