#include "kernels/indexing/indexing.hpp"

#include "kernels/check.hpp"
#include "kernels/indexing/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

const QuantParams kQuant{0.07f, -5};
constexpr DType kDtypes[] = {DType::float32, DType::int8, DType::int64, DType::boolean, DType::int32, DType::uint8};
constexpr DType kIndexDtypes[] = {DType::int32, DType::int64};
const Border kBorder{1, 2, 0, 1};

// Places from one before the first that counts from the end to one behind the last, so that some are outside on either side;
// `size` gives the size of the axis that the element names. Some are as far outside as the dtype allows.
template <class Size>
Data indices(DType dtype, const std::vector<int>& dims, int seed, const Size& size) {
  Data d(tensor(dtype, dims));
  std::mt19937 random(static_cast<unsigned>(seed));
  for (int64_t i = 0; i < d.desc.elements(); ++i) {
    const int n = size(i);
    int64_t index = static_cast<int>(random() % static_cast<unsigned>(2 * n + 2)) - n - 1;
    if (random() % 50 == 0) index = random() % 2 != 0 ? INT32_MIN : INT32_MAX;
    if (random() % 50 == 0 && dtype == DType::int64) index = random() % 2 != 0 ? INT64_MIN : INT64_MAX;
    if (dtype == DType::int64) {
      reinterpret_cast<int64_t*>(d.bytes.data())[i] = index;
    } else {
      reinterpret_cast<int32_t*>(d.bytes.data())[i] = static_cast<int32_t>(index);
    }
  }
  return d;
}

std::string label(const std::vector<int>& dims, int number, DType dtype, DType index_dtype) {
  return shape_text(tensor(dtype, dims)) + " " + std::to_string(number) + " " + dtype_name(index_dtype);
}

struct Case {
  std::vector<int> x, indices;
  int axis;  // or batch_dims
};

const Case kGathers[] = {
    {{7}, {}, 0},
    {{7}, {1}, 0},
    {{1}, {5}, 0},
    {{5, 17}, {3}, 0},
    {{5, 17}, {2, 3}, 1},
    {{2, 6, 3, 5}, {4}, 1},     // channels
    {{2, 6, 3, 5}, {}, 1},      // planes to plain rows
    {{2, 6, 3, 5}, {7}, 3},     // columns
    {{2, 6, 3, 5}, {3}, 2},     // rows
    {{3, 5, 2, 2}, {4}, 0},     // batches
    {{6, 3, 5}, {2, 5}, 0},     // plain rows to planes
    {{5, 19}, {1, 6, 2}, 0},    // the channels are indices
    {{2, 2, 3, 2, 3}, {3}, 2},  // five axes
    {{2, 2, 3, 2, 3}, {2, 2}, 4},
    {{1, 300, 85}, {200}, 1},  // work for two threads
    {{2, 40000}, {37000}, 1},
};

TEST(Indexing, Gather) {
  int seed = 0;
  for (const Case& c : kGathers) {
    for (const DType dtype : kDtypes) {
      for (const DType index_dtype : kIndexDtypes) {
        std::vector<int> dims(c.x.begin(), c.x.begin() + c.axis);
        dims.insert(dims.end(), c.indices.begin(), c.indices.end());
        dims.insert(dims.end(), c.x.begin() + c.axis + 1, c.x.end());
        const TensorDesc in = tensor(dtype, c.x, kBorder, kQuant), out = tensor(dtype, dims, {0, 1, 1, 0}, kQuant);
        const Data x = random_data(in, ++seed), at = indices(index_dtype, c.indices, seed, [&](int64_t) { return c.x[c.axis]; });
        Data expected(out);
        reference::gather(in, at.desc, out, c.axis, x.bytes.data(), at.bytes.data(), expected.bytes.data());
        check_step("indexing", "gather_any", {&x, &at}, expected, {}, label(c.x, c.axis, dtype, index_dtype),
                   [&](const KernelOptions& o) { return prepare_gather(in, at.desc, out, c.axis, o); });
      }
    }
  }
}

const Case kElements[] = {
    {{7}, {4}, 0},
    {{5, 17}, {3, 17}, 0},
    {{5, 17}, {5, 20}, 1},
    {{2, 6, 3, 5}, {2, 9, 3, 5}, 1},
    {{2, 6, 3, 5}, {1, 5, 3, 9}, 3},
    {{2, 6, 3, 5}, {2, 6, 7, 4}, 2},
    {{3, 5, 2, 3}, {4, 5, 1, 2}, 0},
    {{2, 2, 3, 2, 3}, {2, 1, 5, 2, 3}, 2},
    {{40, 1100}, {40, 1001}, 1},
};

TEST(Indexing, GatherElements) {
  int seed = 100;
  for (const Case& c : kElements) {
    for (const DType dtype : kDtypes) {
      for (const DType index_dtype : kIndexDtypes) {
        const TensorDesc in = tensor(dtype, c.x, kBorder, kQuant), out = tensor(dtype, c.indices, {0, 1, 1, 0}, kQuant);
        const Data x = random_data(in, ++seed), at = indices(index_dtype, c.indices, seed, [&](int64_t) { return c.x[c.axis]; });
        Data expected(out);
        reference::gather_elements(in, at.desc, out, c.axis, x.bytes.data(), at.bytes.data(), expected.bytes.data());
        check_step("indexing", "gather_elements_any", {&x, &at}, expected, {}, label(c.x, c.axis, dtype, index_dtype),
                   [&](const KernelOptions& o) { return prepare_gather_elements(in, at.desc, out, c.axis, o); });
      }
    }
  }
}

const Case kTuples[] = {
    {{7}, {1}, 0},
    {{7}, {3, 1}, 0},
    {{5, 17}, {4, 2}, 0},
    {{5, 17}, {3, 2, 1}, 0},
    {{2, 6, 3, 5}, {4, 2}, 0},
    {{2, 6, 3, 5}, {2, 5, 1}, 1},  // channels of each image
    {{2, 6, 3, 5}, {2, 6, 4, 2}, 2},
    {{2, 6, 3, 5}, {3, 4}, 0},
    {{6, 3, 5}, {2, 5, 1}, 0},  // plain rows to planes
    {{2, 2, 3, 2, 3}, {2, 3, 2}, 1},
    {{64, 301}, {500, 1}, 0},  // work for two threads
};

TEST(Indexing, GatherNd) {
  int seed = 200;
  for (const Case& c : kTuples) {
    for (const DType dtype : kDtypes) {
      for (const DType index_dtype : kIndexDtypes) {
        const int tuple = c.indices.back();
        std::vector<int> dims(c.indices.begin(), c.indices.end() - 1);
        dims.insert(dims.end(), c.x.begin() + c.axis + tuple, c.x.end());
        const TensorDesc in = tensor(dtype, c.x, kBorder, kQuant), out = tensor(dtype, dims, {0, 1, 1, 0}, kQuant);
        const auto size = [&](int64_t i) { return c.x[c.axis + i % tuple]; };
        const Data x = random_data(in, ++seed), at = indices(index_dtype, c.indices, seed, size);
        Data expected(out);
        reference::gather_nd(in, at.desc, out, c.axis, x.bytes.data(), at.bytes.data(), expected.bytes.data());
        check_step("indexing", "gather_nd_any", {&x, &at}, expected, {}, label(c.x, c.axis, dtype, index_dtype),
                   [&](const KernelOptions& o) { return prepare_gather_nd(in, at.desc, out, c.axis, o); });
      }
    }
  }
}

// Copies go to every dtype, the rest to numbers.
std::vector<ScatterReduction> reductions(DType dtype) {
  if (dtype != DType::float32 && dtype != DType::int32 && dtype != DType::int64) return {ScatterReduction::none};
  return {ScatterReduction::none, ScatterReduction::add, ScatterReduction::mul, ScatterReduction::max, ScatterReduction::min};
}

// With few places and many updates, most of them meet others: the order shows in the sums of float32.
const Case kScatterElements[] = {
    {{7}, {4}, 0},
    {{3}, {100}, 0},
    {{5, 17}, {9, 17}, 0},
    {{5, 17}, {5, 40}, 1},
    {{2, 6, 3, 5}, {2, 15, 3, 5}, 1},
    {{2, 6, 3, 5}, {1, 5, 3, 9}, 3},
    {{2, 6, 3, 5}, {2, 6, 7, 4}, 2},
    {{3, 5, 2, 3}, {4, 5, 1, 2}, 0},
    {{2, 2, 3, 2, 3}, {2, 1, 5, 2, 3}, 2},
    {{40, 1100}, {40, 1001}, 1},  // work for two threads
    {{40, 11, 30}, {40, 25, 30}, 1},
};

TEST(Indexing, ScatterElements) {
  int seed = 300;
  for (const Case& c : kScatterElements) {
    for (const DType dtype : kDtypes) {
      for (const ScatterReduction reduction : reductions(dtype)) {
        const DType index_dtype = kIndexDtypes[++seed % 2];
        const TensorDesc in = tensor(dtype, c.x, kBorder, kQuant), out = tensor(dtype, c.x, {0, 1, 1, 0}, kQuant),
                         up = tensor(dtype, c.indices, kBorder, kQuant);
        const Data x = random_data(in, seed), at = indices(index_dtype, c.indices, seed, [&](int64_t) { return c.x[c.axis]; }),
                   updates = random_data(up, seed + 1000);
        Data expected(out);
        reference::scatter_elements(in, at.desc, up, out, c.axis, reduction, x.bytes.data(), at.bytes.data(),
                                    updates.bytes.data(), expected.bytes.data());
        check_step("indexing", "scatter_elements_any", {&x, &at, &updates}, expected, {},
                   label(c.x, c.axis, dtype, index_dtype) + " reduction " + std::to_string(static_cast<int>(reduction)),
                   [&](const KernelOptions& o) { return prepare_scatter_elements(in, at.desc, up, out, c.axis, reduction, o); });
      }
    }
  }
}

const Case kScatterTuples[] = {
    {{7}, {1}, 0},
    {{3}, {50, 1}, 0},
    {{5, 17}, {4, 2}, 0},
    {{5, 17}, {3, 4, 1}, 0},
    {{2, 6, 3, 5}, {20, 2}, 0},
    {{2, 6, 3, 5}, {4, 1}, 0},
    {{2, 6, 3, 5}, {100, 4}, 0},
    {{6, 3, 5}, {2, 5, 1}, 0},  // planes of updates to plain rows
    {{2, 2, 3, 2, 3}, {2, 3, 2}, 0},
    {{30, 64}, {1100, 1}, 0},  // work for two threads
};

TEST(Indexing, ScatterNd) {
  int seed = 400;
  for (const Case& c : kScatterTuples) {
    for (const DType dtype : kDtypes) {
      for (const ScatterReduction reduction : reductions(dtype)) {
        const DType index_dtype = kIndexDtypes[++seed % 2];
        const int tuple = c.indices.back();
        std::vector<int> dims(c.indices.begin(), c.indices.end() - 1);
        dims.insert(dims.end(), c.x.begin() + tuple, c.x.end());
        const TensorDesc in = tensor(dtype, c.x, kBorder, kQuant), out = tensor(dtype, c.x, {0, 1, 1, 0}, kQuant),
                         up = tensor(dtype, dims, kBorder, kQuant);
        const Data x = random_data(in, seed), updates = random_data(up, seed + 1000),
                   at = indices(index_dtype, c.indices, seed, [&](int64_t i) { return c.x[i % tuple]; });
        Data expected(out);
        reference::scatter_nd(in, at.desc, up, out, reduction, x.bytes.data(), at.bytes.data(), updates.bytes.data(),
                              expected.bytes.data());
        check_step("indexing", "scatter_nd_any", {&x, &at, &updates}, expected, {},
                   label(c.x, tuple, dtype, index_dtype) + " reduction " + std::to_string(static_cast<int>(reduction)),
                   [&](const KernelOptions& o) { return prepare_scatter_nd(in, at.desc, up, out, reduction, o); });
      }
    }
  }
}

// max and min are `a > b ? a : b` and `a < b ? a : b` of the old value and the update, as ONNX Runtime's.
TEST(Indexing, ScatterOfNan) {
  const float nan = std::nanf("");
  const TensorDesc t = f32({4}), i = tensor(DType::int32, {4});
  Data x(t), updates(t), at(i);
  const float old[] = {1, nan, 3, 2}, update[] = {nan, 5, 9, -1};
  std::copy(old, old + 4, x.floats());
  std::copy(update, update + 4, updates.floats());
  for (int k = 0; k < 4; ++k) reinterpret_cast<int32_t*>(at.bytes.data())[k] = k;
  const Data y = run_step(*prepare_scatter_elements(t, i, t, t, 0, ScatterReduction::max, {}), {&x, &at, &updates}, t, 1);
  EXPECT_TRUE(std::isnan(y.floats()[0]));
  EXPECT_EQ(y.floats()[1], 5);
  EXPECT_EQ(y.floats()[2], 9);
  EXPECT_EQ(y.floats()[3], 2);
}

// A scatter may work in place of its input, which is then not copied.
TEST(Indexing, ScatterInPlace) {
  const TensorDesc t = f32({1, 3, 4, 5}, kBorder), up = f32({2, 4, 5}), i = tensor(DType::int64, {2, 2});
  const Data x = random_data(t, 1), updates = random_data(up, 2),
             at = indices(DType::int64, {2, 2}, 3, [](int64_t k) { return k % 2 == 0 ? 1 : 3; });
  const std::unique_ptr<PreparedKernel> kernel = prepare_scatter_nd(t, i, up, t, ScatterReduction::add, {});
  EXPECT_TRUE(kernel->may_replace(0));
  EXPECT_FALSE(prepare_scatter_nd(f32({1, 3, 4, 5}), i, up, t, ScatterReduction::add, {})->may_replace(0));
  const Data expected = run_step(*kernel, {&x, &at, &updates}, t, 1);
  Data y = random_data(t, 1);
  const void* pointers[] = {y.bytes.data(), at.bytes.data(), updates.bytes.data()};
  ThreadPool pool(1);
  kernel->run({pointers, y.bytes.data(), nullptr, &pool});
  expect_same(expected, y, {}, "in place");
}

TEST(Indexing, RefusesWhatDoesNotFit) {
  const KernelOptions o;
  const TensorDesc i64 = tensor(DType::int64, {2}), i8 = tensor(DType::boolean, {2});
  EXPECT_THROW(prepare_gather(f32({3, 4}), i64, f32({2, 4}), 2, o), Error);
  EXPECT_THROW(prepare_gather(f32({3, 4}), i64, f32({3, 4}), 0, o), Error);
  EXPECT_THROW(prepare_gather(f32({3, 4}), i8, f32({2, 4}), 0, o), Error);
  EXPECT_THROW(prepare_gather(f32({3, 4}), i64, tensor(DType::int32, {2, 4}), 0, o), Error);
  EXPECT_THROW(prepare_gather(s8({3, 4}, kQuant), i64, s8({2, 4}, {1.0f, 0}), 0, o), Error);
  EXPECT_THROW(prepare_gather_elements(f32({3, 1}), tensor(DType::int64, {3, 2}), f32({3, 2}), 0, o), Error);
  EXPECT_THROW(prepare_gather_nd(f32({3}), tensor(DType::int64, {1, 2}), f32({1}), 0, o), Error);
  EXPECT_THROW(prepare_gather_nd(f32({3, 4}), tensor(DType::int64, {2, 1}), f32({2}), 1, o), Error);
  const auto none = ScatterReduction::none, add = ScatterReduction::add;
  EXPECT_THROW(prepare_scatter_elements(f32({3}), i64, f32({3}), f32({3}), 0, none, o), Error);
  EXPECT_THROW(prepare_scatter_elements(i8, i64, i8, i8, 0, add, o), Error);
  EXPECT_THROW(prepare_scatter_nd(f32({3, 4}), tensor(DType::int64, {2, 1}), f32({2, 3}), f32({3, 4}), none, o), Error);
}

}  // namespace
}  // namespace edgelane
