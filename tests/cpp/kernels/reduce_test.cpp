#include "kernels/reduce/reduce.hpp"

#include "kernels/reduce/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

TEST(ReduceMean, EverySetOfAxesOfEveryLayout) {
  const std::vector<std::vector<int>> shapes = {{1},           {1031},         {3, 17},         {2, 5, 31},     {1, 1, 1, 1},
                                                {2, 7, 5, 15}, {1, 3, 16, 16}, {2, 2, 3, 2, 3}, {2, 19, 33, 37}};
  for (const std::vector<int>& shape : shapes) {
    const int rank = static_cast<int>(shape.size());
    for (int set = 1; set < 1 << rank; ++set) {
      std::vector<int> axes, reduced = shape;
      for (int a = 0; a < rank; ++a) {
        if (set >> a & 1) axes.push_back(a), reduced[a] = 1;
      }
      for (const Border border : {Border{}, Border{1, 2, 0, 1}}) {
        const TensorDesc in = f32(shape, border), out = f32(reduced, {0, 1, 1, 2});
        const Data x = random_data(in, set);
        Data expected(out);
        reference::reduce_mean(in, out, axes, x.floats(), expected.floats());
        // The mean of n numbers below 4, summed in the worst case one after the other: partial sums grow like sqrt(n), each of n
        // roundings is relative to one, and the mean divides by n. 46398 numbers: 4 * 2^-24 * sqrt(46398) = 5e-5.
        check_step("reduce", "reduce_mean_f32", {&x}, expected, {1e-6f, 5e-5f}, "axes " + std::to_string(set),
                   [&](const KernelOptions& o) { return prepare_reduce_mean(in, out, axes, o); });
      }
    }
  }
}

TEST(ReduceMean, RefusesWrongAxesAndShapes) {
  const std::vector<int> one = {1}, zero = {0};
  EXPECT_THROW(prepare_reduce_mean(f32({3}), f32({1}), one, {}), Error);
  EXPECT_THROW(prepare_reduce_mean(f32({3, 2}), f32({3, 1}), zero, {}), Error);
}

}  // namespace
}  // namespace edgelane
