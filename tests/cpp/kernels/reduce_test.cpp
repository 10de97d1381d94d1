#include "kernels/reduce/reduce.hpp"

#include "kernels/reduce/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

const std::vector<std::vector<int>> kShapes = {{1},           {1031},         {3, 17},         {2, 5, 31},     {1, 1, 1, 1},
                                               {2, 7, 5, 15}, {1, 3, 16, 16}, {2, 2, 3, 2, 3}, {2, 19, 33, 37}};

std::string name(const std::vector<int>& shape, int number, Reduction reduction) {
  std::string text = "shape";
  for (const int size : shape) text += " " + std::to_string(size);
  return text + ", " + std::to_string(number) + ", reduction " + std::to_string(static_cast<int>(reduction));
}

bool has_loops(Reduction r) { return r == Reduction::mean || r == Reduction::sum || r == Reduction::max || r == Reduction::min; }

// f(shape, set of axes as a number, the axes, the shape that they leave, how many elements become one)
template <class F>
void for_axes(const F& f) {
  for (const std::vector<int>& shape : kShapes) {
    const int rank = static_cast<int>(shape.size());
    for (int set = 1; set < 1 << rank; ++set) {
      std::vector<int> axes, reduced = shape;
      int count = 1;
      for (int a = 0; a < rank; ++a) {
        if (set >> a & 1) axes.push_back(a), reduced[a] = 1, count *= shape[a];
      }
      f(shape, set, axes, reduced, count);
    }
  }
}

TEST(Reduce, EverySetOfAxesOfEveryLayout) {
  for_axes([](const std::vector<int>& shape, int set, const std::vector<int>& axes, const std::vector<int>& reduced, int count) {
    for (const Border border : {Border{}, Border{1, 2, 0, 1}, kDense}) {
      for (int r = 0; r < kReductions; ++r) {
        const auto reduction = static_cast<Reduction>(r);
        if (!has_loops(reduction) && shape == kShapes.back() && (set + r) % 5 != 0) continue;  // every fifth pair, for time
        if (reduction == Reduction::product && count > 1500) continue;  // of numbers up to 4: it overflows double, in any order
        const TensorDesc in = f32(shape, border), out = f32(reduced, {0, 1, 1, 2});
        const Data x = random_data(in, set);
        Data expected(out);
        reference::reduce<float>(in, out, axes, reduction, x.floats(), expected.floats());
        // The sum of n numbers below 4, summed in the worst case one after the other: partial sums grow like sqrt(n), each of n
        // roundings is relative to one, and a mean divides by n. 46398 numbers: 4 * 2^-24 * sqrt(46398) = 5e-5.
        Tolerance tolerance;
        if (reduction == Reduction::mean) tolerance = {1e-6f, 5e-5f};
        if (reduction == Reduction::sum) tolerance = {1e-6f, 5e-5f * static_cast<float>(count)};
        // In double: a rounding of the result, and a logarithm of a sum near 1 or 0 has its errors as they are.
        if (!has_loops(reduction)) tolerance = {2e-7f, reduction == Reduction::log_sum ? 1e-6f : 1e-12f};
        check_step("reduce", has_loops(reduction) ? "reduce_f32" : "reduce_double_f32", {&x}, expected, tolerance,
                   name(shape, set, reduction),
                   [&](const KernelOptions& o) { return prepare_reduce(in, out, axes, reduction, o); });
      }
    }
  });
}

// Numbers over the whole range, whose sums wrap around, or small ones for what is computed in double precision.
template <class T>
Data integers(const TensorDesc& t, int seed, bool small) {
  Data d = random_data(t, seed);
  auto* values = reinterpret_cast<T*>(d.bytes.data());
  for (int64_t i = 0; i < t.elements() && small; ++i) values[i] = static_cast<T>(values[i] % 1000);
  return d;
}

template <class T>
void check_integers(DType dtype, const char* operation) {
  for_axes([&](const std::vector<int>& shape, int set, const std::vector<int>& axes, const std::vector<int>& reduced, int) {
    for (int r = 0; r < kReductions; ++r) {
      if (shape == kShapes.back() && (set + r) % 5 != 0) continue;  // the work for two threads: every fifth pair, for time
      const auto reduction = static_cast<Reduction>(r);
      const bool real = reduction == Reduction::l2 || reduction == Reduction::log_sum || reduction == Reduction::log_sum_exp;
      const TensorDesc in = tensor(dtype, shape), out = tensor(dtype, reduced);
      const Data x = integers<T>(in, set, real);
      Data expected(out);
      reference::reduce<T>(in, out, axes, reduction, x.bytes.data(), expected.bytes.data());
      check_step("reduce", operation, {&x}, expected, {}, name(shape, set, reduction),
                 [&](const KernelOptions& o) { return prepare_reduce(in, out, axes, reduction, o); });
    }
  });
}

TEST(Reduce, Int32) { check_integers<int32_t>(DType::int32, "reduce_s32"); }
TEST(Reduce, Int64) { check_integers<int64_t>(DType::int64, "reduce_s64"); }

// NaN at every place of a row and of a column, and infinities: max and min keep NaN, exponentials do not overflow.
TEST(Reduce, NanAndInfinity) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  const std::vector<int> axis = {1}, first = {0};
  for (const int n : {1, 3, 17, 70}) {
    for (const float special : {nan, inf, -inf}) {
      for (int at = 0; at < n; ++at) {
        for (const bool column : {false, true}) {
          const TensorDesc in = column ? f32({n, 3}) : f32({3, n}), out = column ? f32({1, 3}) : f32({3, 1});
          Data x = random_data(in, n);
          for (int line = 0; line < 2; ++line) set_element(&x, column ? at * 3 + line : line * n + at, special);
          for (const Reduction r : {Reduction::max, Reduction::min, Reduction::log_sum_exp, Reduction::l1}) {
            const std::vector<int>& axes = column ? first : axis;
            Data expected(out);
            reference::reduce<float>(in, out, axes, r, x.floats(), expected.floats());
            check_step("reduce", has_loops(r) ? "reduce_f32" : "reduce_double_f32", {&x}, expected, {2e-7f, 0},
                       name({n, column}, at, r), [&](const KernelOptions& o) { return prepare_reduce(in, out, axes, r, o); });
          }
        }
      }
    }
  }
  const TensorDesc in = f32({1, 2}), out = f32({1, 1});
  Data x(in);
  x.floats()[0] = x.floats()[1] = 1000.0f;
  EXPECT_NEAR(run_step(*prepare_reduce(in, out, axis, Reduction::log_sum_exp, {}), {&x}, out, 1).floats()[0], 1000.6931f, 1e-3f);
  x.floats()[0] = x.floats()[1] = -inf;
  EXPECT_EQ(run_step(*prepare_reduce(in, out, axis, Reduction::log_sum_exp, {}), {&x}, out, 1).floats()[0], -inf);
}

TEST(Reduce, RefusesWrongAxesAndShapes) {
  const std::vector<int> one = {1}, zero = {0};
  EXPECT_THROW(prepare_reduce(f32({3}), f32({1}), one, Reduction::mean, {}), Error);
  EXPECT_THROW(prepare_reduce(f32({3, 2}), f32({3, 1}), zero, Reduction::mean, {}), Error);
  EXPECT_THROW(prepare_reduce(f32({3}), tensor(DType::int32, {1}), zero, Reduction::sum, {}), Error);
  EXPECT_THROW(prepare_reduce(tensor(DType::uint8, {3}), tensor(DType::uint8, {1}), zero, Reduction::max, {}), Error);
  EXPECT_THROW(prepare_arg_reduce(f32({3, 2}), tensor(DType::int64, {3, 1}), 0, true, false, {}), Error);
  EXPECT_THROW(prepare_arg_reduce(f32({3}), f32({1}), 0, true, false, {}), Error);
  EXPECT_THROW(prepare_top_k(f32({3}), tensor(DType::int64, {4}), 0, true, {}), Error);
  EXPECT_THROW(prepare_top_k(tensor(DType::boolean, {3}), tensor(DType::int64, {1}), 0, true, {}), Error);
}

// Elements of few different values, so that many are equal, and some NaN.
Data with_ties(const TensorDesc& t, int seed) {
  Data d(t);
  std::mt19937 random(static_cast<unsigned>(seed));
  const ElementOffsets offsets(t);
  int i[kMaxRank] = {};
  do {
    const int64_t at = offsets(i, t.rank);
    const int value = static_cast<int>(random() % 9) - 4;
    if (t.dtype == DType::float32) {
      d.floats()[at] = random() % 40 == 0  ? std::nanf("")
                       : random() % 2 != 0 ? -static_cast<float>(value)
                                           : 0.5f * static_cast<float>(value);
    } else if (t.dtype == DType::int32) {
      reinterpret_cast<int32_t*>(d.bytes.data())[at] = value == 4 ? INT32_MIN : value;
    } else {
      reinterpret_cast<int64_t*>(d.bytes.data())[at] = value == 4 ? INT64_MIN : value;
    }
  } while (next_index(i, t.dims, t.rank));
  fill_borders(d.bytes.data(), t);
  return d;
}

template <class T>
void check_choices(DType dtype, const std::string& suffix) {
  std::vector<std::vector<int>> shapes = kShapes;
  shapes.push_back({1, 19, 700});
  shapes.push_back({1, 8400});
  for (const std::vector<int>& shape : shapes) {
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
      const TensorDesc in = tensor(dtype, shape, {1, 2, 0, 1});
      const Data x = with_ties(in, axis + 1);
      for (const bool largest : {true, false}) {
        std::vector<int> dims = shape;
        dims[axis] = 1;
        const TensorDesc one = tensor(DType::int64, dims);
        for (const bool last : {false, true}) {
          Data expected(one);
          reference::arg_reduce<T>(in, one, axis, largest, last, x.bytes.data(), expected.bytes.data());
          check_step("reduce", "arg_reduce_" + suffix, {&x}, expected, {}, name(shape, axis, {}),
                     [&](const KernelOptions& o) { return prepare_arg_reduce(in, one, axis, largest, last, o); });
        }
        for (const int k : {1, (shape[axis] + 2) / 3, shape[axis]}) {
          dims[axis] = k;
          const TensorDesc some = tensor(DType::int64, dims);
          Data expected(some);
          reference::top_k<T>(in, some, axis, largest, x.bytes.data(), expected.bytes.data());
          check_step("reduce", "top_k_" + suffix, {&x}, expected, {}, name(shape, axis, {}), [&](KernelOptions o) {
            o.threads = 2;
            return prepare_top_k(in, some, axis, largest, o);
          });
        }
      }
    }
  }
}

TEST(Reduce, ChoicesOfFloat32) { check_choices<float>(DType::float32, "f32"); }
TEST(Reduce, ChoicesOfInt32) { check_choices<int32_t>(DType::int32, "s32"); }
TEST(Reduce, ChoicesOfInt64) { check_choices<int64_t>(DType::int64, "s64"); }

}  // namespace
}  // namespace edgelane
