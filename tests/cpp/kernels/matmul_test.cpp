// Every matmul kernel, float32 and int32, against the reference.
#include "kernels/matmul/matmul.hpp"

#include <cfloat>

#include "kernels/matmul/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

struct MatmulCase {
  const char* name;
  std::vector<int> a, b, y;
};

const MatmulCase kCases[] = {
    {"one_by_one", {1, 1}, {1, 1}, {1, 1}},
    {"one_row", {1, 37}, {37, 67}, {1, 67}},
    {"one_row_of_whole_vectors", {1, 37}, {37, 64}, {1, 64}},
    {"two_tiles_of_whole_vectors", {9, 5}, {5, 48}, {9, 48}},
    {"one_column", {19, 37}, {37, 1}, {19, 1}},
    {"one_product", {7, 1}, {1, 9}, {7, 9}},
    {"tile_minus_one", {5, 16}, {16, 63}, {5, 63}},
    {"tile_exactly", {6, 16}, {16, 64}, {6, 64}},
    {"tile_plus_one", {7, 17}, {17, 65}, {7, 65}},
    {"prime_sizes", {31, 13}, {13, 131}, {31, 131}},
    {"past_a_panel's_depth", {8, 515}, {515, 9}, {8, 9}},
    {"two_panels_of_depth_unpacked", {2, 1024}, {1024, 16}, {2, 16}},
    {"heads", {3, 17, 8}, {3, 8, 17}, {3, 17, 17}},
    {"planar_windows", {5, 2, 9, 4}, {5, 2, 4, 9}, {5, 2, 9, 9}},
    {"one_matrix_for_all", {3, 2, 5, 7}, {7, 6}, {3, 2, 5, 6}},
    {"one_matrix_for_all_rows", {2, 3, 1, 7}, {7, 33}, {2, 3, 1, 33}},
    {"one_matrix_for_plain_rows", {4, 3, 8}, {8, 21}, {4, 3, 21}},
    {"one_left_matrix", {5, 8}, {2, 3, 8, 6}, {2, 3, 5, 6}},
    {"both_broadcast", {4, 1, 5, 3}, {1, 6, 3, 5}, {4, 6, 5, 5}},
    {"left_of_rank_3", {3, 5, 4}, {2, 1, 4, 7}, {2, 3, 5, 7}},
    {"rank_5", {2, 1, 3, 4, 5}, {2, 1, 5, 6}, {2, 2, 3, 4, 6}},
    {"rank_6", {2, 1, 2, 1, 3, 5}, {2, 1, 3, 5, 2}, {2, 2, 2, 3, 3, 2}},
};

const Border kBorderA{1, 0, 2, 3}, kBorderB{0, 2, 1, 1}, kBorderY{1, 1, 0, 2};

TEST(Matmul, Float32EqualsTheReferenceOnHostileShapes) {
  for (const MatmulCase& c : kCases) {
    const Data a = random_data(f32(c.a, kBorderA), 1), b = random_data(f32(c.b, kBorderB), 2);
    Data expected(f32(c.y, kBorderY)), magnitude(expected.desc);
    reference::matmul_f32(a.desc, b.desc, expected.desc, a.floats(), b.floats(), expected.floats(), magnitude.floats());
    const auto depth = static_cast<float>(c.a.back());
    for (KernelOptions options : runnable("matmul", "matmul_f32")) {
      SCOPED_TRACE(options.kernel + " on " + c.name);
      options.threads = 3;
      const auto kernel = prepare_matmul(a.desc, b.desc, expected.desc, options);
      EXPECT_EQ(kernel->info().kernel, options.kernel);
      EXPECT_EQ(kernel->info().macs, expected.desc.elements() * c.a.back());
      const Data y = run_step(*kernel, {&a, &b}, expected.desc, 1);
      for (size_t i = 0; i < expected.desc.bytes() / 4; ++i) {
        // Rounding: at most K * eps / 2 times the sum of the magnitudes, with whichever order of the sums; the reference's own.
        ASSERT_NEAR(y.floats()[i], expected.floats()[i], (depth + 2) * FLT_EPSILON / 2 * magnitude.floats()[i])
            << "element " << i;
      }
      const Data again = run_step(*kernel, {&a, &b}, expected.desc, 3);
      EXPECT_EQ(std::memcmp(y.bytes.data(), again.bytes.data(), y.bytes.size()), 0) << "three threads change the result";
    }
  }
}

TEST(Matmul, Int32WrapsAround) {
  for (const MatmulCase& c : kCases) {
    const Data a = random_data(tensor(DType::int32, c.a), 1), b = random_data(tensor(DType::int32, c.b), 2);
    Data expected(tensor(DType::int32, c.y));
    reference::matmul_s32(a.desc, b.desc, expected.desc, reinterpret_cast<const int32_t*>(a.bytes.data()),
                          reinterpret_cast<const int32_t*>(b.bytes.data()), reinterpret_cast<int32_t*>(expected.bytes.data()));
    check_step("matmul", "matmul_s32", {&a, &b}, expected, {}, c.name, [&](KernelOptions o) {
      o.threads = 2;
      return prepare_matmul(a.desc, b.desc, expected.desc, o);
    });
  }
}

TEST(Matmul, DensePlanes) {
  const Data a = random_data(f32({2, 3, 17, 9}, kDense), 1), b = random_data(f32({2, 3, 9, 20}), 2);
  const TensorDesc y = f32({2, 3, 17, 20}, kDense), bordered = f32({2, 3, 17, 20}, kBorderY);
  for (const KernelOptions& options : runnable("matmul", "matmul_f32")) {
    const Data dense = run_step(*prepare_matmul(a.desc, b.desc, y, options), {&a, &b}, y, 1);
    const Data other = run_step(*prepare_matmul(a.desc, b.desc, bordered, options), {&a, &b}, bordered, 1);
    const ElementOffsets at_y(y), at_other(bordered);
    int i[kMaxRank] = {};
    do ASSERT_EQ(dense.floats()[at_y(i, 4)], other.floats()[at_other(i, 4)]) << options.kernel;
    while (next_index(i, y.dims, 4));
  }
}

// Enough work that a step is cut into strips of rows, panels and batches.
TEST(Matmul, ManyTasksGiveTheSameBits) {
  for (const MatmulCase& c : {MatmulCase{"strips of rows", {700, 64}, {64, 70}, {700, 70}},
                              MatmulCase{"batches", {40, 50, 32}, {40, 32, 49}, {40, 50, 49}},
                              MatmulCase{"planar", {2, 8, 100, 33}, {2, 8, 33, 65}, {2, 8, 100, 65}}}) {
    const Data a = random_data(f32(c.a), 1), b = random_data(f32(c.b), 2);
    const TensorDesc y = f32(c.y, kBorderY);
    KernelOptions options{available_isas().back(), ""};
    options.threads = 4;
    const auto kernel = prepare_matmul(a.desc, b.desc, y, options);
    const Data one = run_step(*kernel, {&a, &b}, y, 1);
    for (const int threads : {2, 3, 4}) {
      const Data more = run_step(*kernel, {&a, &b}, y, threads);
      EXPECT_EQ(std::memcmp(one.bytes.data(), more.bytes.data(), one.bytes.size()), 0) << c.name << ", " << threads << " threads";
    }
  }
}

TEST(Matmul, InfinitiesAndNanSpreadAlongTheirRowAndColumnAlone) {
  Data a = random_data(f32({9, 20}), 1), b = random_data(f32({20, 70}), 2);
  set_element(&a, 3 * 20 + 19, std::nanf("")), set_element(&b, 66, INFINITY);
  for (const KernelOptions& options : runnable("matmul", "matmul_f32")) {
    const TensorDesc y = f32({9, 70});
    const Data found = run_step(*prepare_matmul(a.desc, b.desc, y, options), {&a, &b}, y, 1);
    for (int i = 0; i < 9 * 70; ++i) {
      EXPECT_EQ(std::isfinite(found.floats()[i]), i / 70 != 3 && i % 70 != 66) << options.kernel << ", element " << i;
    }
  }
}

TEST(Matmul, RefusesWhatDoesNotFit) {
  const auto refuses = [](const TensorDesc& a, const TensorDesc& b, const TensorDesc& y) {
    EXPECT_THROW(prepare_matmul(a, b, y, {}), Error) << y.rank;
  };
  refuses(f32({2, 3}), f32({4, 5}), f32({2, 5}));
  refuses(f32({2, 3}), f32({3, 5}), f32({2, 4}));
  refuses(f32({3}), f32({3, 5}), f32({5}));
  refuses(f32({2, 2, 3}), f32({3, 3, 5}), f32({2, 2, 5}));
  refuses(f32({2, 3}), tensor(DType::int32, {3, 5}), f32({2, 5}));
  refuses(tensor(DType::int64, {2, 3}), tensor(DType::int64, {3, 5}), tensor(DType::int64, {2, 5}));
}

}  // namespace
}  // namespace edgelane
