#include "kernels/conv_transpose2d/conv_transpose2d.hpp"

#include "kernels/conv_transpose2d/reference.hpp"
#include "kernels/elementwise/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

struct Case {
  const char* what;
  int batch, ic, oc, groups, height, width, kernel_h, kernel_w, stride_h, stride_w, pads[4], dilation_h, dilation_w, extra;
  ActivationKind activation;
  bool bias;
};

constexpr Case kCases[] = {
    {"one pixel", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0}, 1, 1, 0, ActivationKind::none, false},
    {"segmentation head", 1, 7, 5, 1, 7, 9, 4, 4, 2, 2, {1, 1, 1, 1}, 1, 1, 0, ActivationKind::none, true},
    {"two by two", 2, 6, 8, 1, 5, 33, 2, 2, 2, 2, {0, 0, 0, 0}, 1, 1, 0, ActivationKind::relu, true},
    {"stride 1", 1, 5, 9, 1, 6, 17, 3, 3, 1, 1, {1, 1, 1, 1}, 1, 1, 0, ActivationKind::none, true},
    {"output padding", 1, 3, 4, 1, 5, 15, 3, 3, 2, 2, {1, 1, 1, 1}, 1, 1, 1, ActivationKind::sigmoid, true},
    {"grouped", 2, 6, 9, 3, 4, 16, 3, 2, 2, 3, {0, 1, 0, 0}, 1, 1, 0, ActivationKind::none, true},
    {"bilinear enlargement, depthwise", 1, 5, 5, 5, 6, 8, 4, 4, 2, 2, {1, 1, 1, 1}, 1, 1, 0, ActivationKind::none, false},
    {"dilated", 1, 3, 2, 1, 7, 6, 3, 3, 2, 2, {2, 1, 1, 2}, 2, 3, 0, ActivationKind::none, false},
    {"work for two threads", 1, 9, 11, 1, 12, 20, 4, 4, 2, 2, {1, 1, 1, 1}, 1, 1, 0, ActivationKind::none, true},
    {"pads beyond the kernel", 1, 2, 3, 1, 9, 9, 2, 2, 1, 1, {3, 3, 3, 3}, 1, 1, 0, ActivationKind::none, true},
    {"camera head", 1, 16, 8, 1, 12, 20, 3, 3, 2, 2, {1, 1, 1, 1}, 1, 1, 1, ActivationKind::relu, true},
    {"one row of phases", 1, 4, 3, 1, 6, 19, 1, 2, 1, 2, {0, 0, 0, 0}, 1, 1, 0, ActivationKind::none, true},
    {"stride beyond the kernel", 1, 2, 3, 1, 4, 5, 1, 1, 3, 4, {0, 0, 0, 0}, 1, 1, 2, ActivationKind::clip, true},
};

ConvTranspose2dProblem problem(const Case& c) {
  const auto size = [&](int in, int stride, int kernel, int dilation, int pads) {
    return (in - 1) * stride - pads + dilation * (kernel - 1) + 1 + c.extra;
  };
  ConvTranspose2dProblem p;
  p.input = PlanarLayout(c.batch, c.ic, c.height, c.width, {0, 1, 0, 0});
  p.output = PlanarLayout(c.batch, c.oc, size(c.height, c.stride_h, c.kernel_h, c.dilation_h, c.pads[0] + c.pads[2]),
                          size(c.width, c.stride_w, c.kernel_w, c.dilation_w, c.pads[1] + c.pads[3]), {1, 2, 1, 0});
  p.kernel_h = c.kernel_h, p.kernel_w = c.kernel_w, p.stride_h = c.stride_h, p.stride_w = c.stride_w;
  p.pad_top = c.pads[0], p.pad_left = c.pads[1], p.dilation_h = c.dilation_h, p.dilation_w = c.dilation_w;
  p.groups = c.groups;
  p.activation = {c.activation, -1.0f, 2.0f};
  return p;
}

TensorDesc desc(const PlanarLayout& l) { return f32({l.batch, l.channels, l.height, l.width}, l.border); }

TEST(ConvTranspose2d, HostileShapes) {
  for (const Case& c : kCases) {
    const ConvTranspose2dProblem p = problem(c);
    const Data x = random_data(desc(p.input), 1);
    const int weight_count = c.ic * (c.oc / c.groups) * c.kernel_h * c.kernel_w;
    const Data weight_data = random_data(f32({weight_count}), 2), bias_data = random_data(f32({c.oc}), 3);
    const Span<const float> weights(weight_data.floats(), weight_count);
    const Span<const float> bias = c.bias ? Span<const float>(bias_data.floats(), c.oc) : Span<const float>();
    Data expected(desc(p.output));
    reference::conv_transpose2d(p, weights, bias, x.floats(), expected.floats());
    // At most 9 * 4 products below 16, some 37 roundings of sums that rarely pass 64.
    check_step("conv_transpose2d", "conv_transpose2d_f32", {&x}, expected, {2e-6f, 37 * 64 * std::ldexp(1.0f, -24)}, c.what,
               [&](const KernelOptions& o) { return prepare_conv_transpose2d_f32(p, weights, bias, o); });
  }
}

TEST(ConvTranspose2d, EndsInASlopeForEachChannel) {
  const ConvTranspose2dProblem p = problem(kCases[10]);
  const Data x = random_data(desc(p.input), 1), weight_data = random_data(f32({16 * 8 * 9}), 2),
             slopes = random_data(f32({8}), 3);
  const Span<const float> weights(weight_data.floats(), 16 * 8 * 9), slope(slopes.floats(), 8);
  ConvTranspose2dProblem plain = p;
  plain.activation = {};
  Data linear(desc(p.output)), expected(desc(p.output));
  reference::conv_transpose2d(plain, weights, {}, x.floats(), linear.floats());
  reference::prelu(desc(p.output), desc(p.output), slope, linear.floats(), expected.floats());
  check_step("conv_transpose2d", "conv_transpose2d_f32", {&x}, expected, {2e-6f, 4 * 37 * 64 * std::ldexp(1.0f, -24)}, "slopes",
             [&](const KernelOptions& o) { return prepare_conv_transpose2d_f32(plain, weights, {}, o, slope); });
  EXPECT_THROW(prepare_conv_transpose2d_f32(p, weights, {}, {}, slope), Error) << "beside a ReLU";
}

TEST(ConvTranspose2d, ReportsItsWork) {
  const ConvTranspose2dProblem p = problem(kCases[2]);
  std::vector<float> weights(6 * 8 * 4, 1.0f);
  weights[0] = 0.0f;
  const auto kernel = prepare_conv_transpose2d_f32(p, weights, {}, {});
  EXPECT_EQ(kernel->info().dense_macs, 2 * 6 * 8 * 4 * 5 * 33);
  EXPECT_EQ(kernel->info().macs, kernel->info().dense_macs);  // no pads, 8 channels in two tiles of 4
  EXPECT_DOUBLE_EQ(kernel->info().density, 191.0 / 192.0);
}

// A file of 32 KB whose windows, nearly all of them zeros, would fill gigabytes.
TEST(ConvTranspose2d, WindowsAreLimited) {
  const Case c = {"far taps", 1, 64, 64, 1, 2, 1, 2, 1, 1, 1, {0, 0, 0, 0}, 100000, 1, 0, ActivationKind::none, false};
  const std::vector<float> weights(64 * 64 * 2);
  EXPECT_THROW(prepare_conv_transpose2d_f32(problem(c), weights, {}, {}), Error);
  Case near = c;
  near.dilation_h = 10;
  EXPECT_LT(prepare_conv_transpose2d_f32(problem(near), weights, {}, {})->packed_bytes(), 100000u);
}

// Taps of a tall kernel: no table grows with the product of its rows and the output's.
TEST(ConvTranspose2d, TallKernelsAreCheap) {
  const Case c = {"tall", 1, 1, 1, 1, 4096, 1, 8192, 1, 1, 1, {0, 0, 0, 0}, 1, 1, 0, ActivationKind::none, false};
  const std::vector<float> weights(8192, 1.0f);
  EXPECT_LT(prepare_conv_transpose2d_f32(problem(c), weights, {}, {})->packed_bytes(), 1000000u);
}

TEST(ConvTranspose2d, RefusesWhatDoesNotFit) {
  const ConvTranspose2dProblem p = problem(kCases[1]);
  const std::vector<float> few(3), right(7 * 5 * 16);
  EXPECT_THROW(prepare_conv_transpose2d_f32(p, few, {}, {}), Error);
  EXPECT_THROW(prepare_conv_transpose2d_f32(p, right, few, {}), Error);
}

}  // namespace
}  // namespace edgelane
