#include "kernels/movement/movement.hpp"

#include "kernels/movement/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

const QuantParams kQuant{0.07f, -5};
constexpr DType kDtypes[] = {DType::float32, DType::int8, DType::int64, DType::boolean, DType::int32, DType::uint8};
const Border kBorders[] = {Border{}, Border{1, 2, 0, 1}, kDense};

struct Concat {
  const char* what;
  std::vector<int> rest;  // dims of the output without the axis's size
  int axis;
  std::vector<int> parts;
};

const Concat kConcats[] = {
    {"one part", {1, 0, 3, 5}, 1, {3}},
    {"groups of four", {2, 0, 7, 17}, 1, {4, 8, 4}},
    {"split groups", {2, 0, 5, 15}, 1, {3, 5, 1, 7}},
    {"DenseNet", {1, 0, 7, 7}, 1, {64, 32, 32}},
    {"ShuffleNet", {1, 0, 4, 4}, 1, {58, 58}},
    {"batches", {0, 3, 4, 5}, 0, {1, 2}},
    {"heights", {1, 5, 0, 6}, 2, {1, 3}},
    {"widths", {1, 5, 3, 0}, 3, {17, 1, 15}},
    {"plain", {3, 0}, 1, {1, 16, 4}},
    {"vectors", {0}, 0, {5, 1}},
    {"work for two threads", {1, 0, 33, 37}, 1, {21, 20}},
    {"plain work for two threads", {300, 0}, 1, {90, 61}},
    {"five axes", {2, 2, 0, 2, 3}, 2, {1, 2}},
};

TEST(Movement, Concat) {
  for (const Concat& c : kConcats) {
    for (const DType dtype : kDtypes) {
      for (const Border& border : kBorders) {
        for (const bool same_scale : {true, false}) {
          if (!same_scale && dtype != DType::int8) continue;  // scales belong to int8 alone
          std::vector<TensorDesc> parts;
          std::vector<Data> data;
          std::vector<int> dims = c.rest;
          for (size_t k = 0; k < c.parts.size(); ++k) {
            std::vector<int> part = c.rest;
            part[c.axis] = c.parts[k];
            dims[c.axis] += c.parts[k];
            const QuantParams own = same_scale || k % 2 == 0 ? kQuant : QuantParams{0.04f, 9};
            parts.push_back(tensor(dtype, part, k == 0 ? Border{1, 2, 0, 1} : border, own));
            data.push_back(random_data(parts.back(), static_cast<int>(k)));
          }
          const TensorDesc out = tensor(dtype, dims, {1, 2, 1, 0}, kQuant);
          std::vector<const void*> pointers;
          std::vector<const Data*> inputs;
          for (const Data& d : data) pointers.push_back(d.bytes.data()), inputs.push_back(&d);
          Data expected(out);
          reference::concat(parts, out, c.axis, pointers.data(), expected.bytes.data());
          check_step("movement", "concat_any", inputs, expected, {}, std::string(c.what) + " " + dtype_name(dtype),
                     [&](const KernelOptions& o) { return prepare_concat(parts, out, c.axis, o); });
        }
      }
    }
  }
}

struct Slice {
  const char* what;
  std::vector<int> in, starts, steps, out;
};

const Slice kSlices[] = {
    {"everything", {1, 5, 3, 17}, {0, 0, 0, 0}, {1, 1, 1, 1}, {1, 5, 3, 17}},
    {"the second half of the channels", {2, 10, 7, 7}, {0, 5, 0, 0}, {1, 1, 1, 1}, {2, 5, 7, 7}},
    {"channels at a group", {1, 12, 4, 5}, {0, 4, 0, 0}, {1, 1, 1, 1}, {1, 8, 4, 5}},
    {"every second channel", {1, 9, 4, 5}, {0, 1, 0, 0}, {1, 2, 1, 1}, {1, 4, 4, 5}},
    {"a crop", {1, 3, 9, 20}, {0, 0, 2, 3}, {1, 1, 1, 1}, {1, 3, 5, 16}},
    {"every second pixel", {2, 6, 9, 21}, {1, 0, 1, 0}, {1, 1, 2, 2}, {1, 6, 4, 11}},
    {"a column", {3, 17}, {0, 4}, {1, 1}, {3, 1}},
    {"a token", {2, 7, 19}, {0, 0, 0}, {1, 1, 1}, {2, 1, 19}},
    {"work for two threads", {1, 50, 40, 37}, {0, 3, 5, 0}, {1, 1, 1, 1}, {1, 41, 33, 37}},
    {"one number", {9}, {8}, {3}, {1}},
};

TEST(Movement, Slice) {
  for (const Slice& c : kSlices) {
    for (const DType dtype : kDtypes) {
      for (const Border& border : kBorders) {
        const TensorDesc in = tensor(dtype, c.in, border, kQuant), out = tensor(dtype, c.out, {1, 2, 0, 1}, kQuant);
        const Data x = random_data(in, 1);
        Data expected(out);
        reference::slice(in, out, c.starts, c.steps, x.bytes.data(), expected.bytes.data());
        check_step("movement", "slice_any", {&x}, expected, {}, std::string(c.what) + " " + dtype_name(dtype),
                   [&](const KernelOptions& o) { return prepare_slice(in, out, c.starts, c.steps, o); });
      }
    }
  }
}

TEST(Movement, Transpose) {
  const std::vector<std::vector<int>> perms = {{0, 2, 3, 1}, {0, 3, 1, 2}, {0, 1, 3, 2}, {3, 2, 1, 0},
                                               {0, 1, 2, 3}, {1, 0},       {0, 2, 1},    {2, 0, 1, 4, 3}};
  const int sizes[] = {2, 6, 55, 57, 3};
  for (const std::vector<int>& perm : perms) {
    for (const DType dtype : kDtypes) {
      const std::vector<int> from(sizes, sizes + perm.size());
      std::vector<int> to;
      for (const int axis : perm) to.push_back(from[axis]);
      const TensorDesc in = tensor(dtype, from, {1, 2, 0, 1}, kQuant), out = tensor(dtype, to, {0, 1, 1, 0}, kQuant);
      const Data x = random_data(in, 2);
      Data expected(out);
      reference::transpose(in, out, perm, x.bytes.data(), expected.bytes.data());
      check_step("movement", "transpose_any", {&x}, expected, {}, dtype_name(dtype),
                 [&](const KernelOptions& o) { return prepare_transpose(in, out, perm, o); });
    }
  }
}

// Attention's: heads out of and into the middle, windows of an image, few channels, and work for several threads.
TEST(Movement, TransposeOfMergedAxes) {
  struct Case {
    std::vector<int> from, perm;
  };
  for (const Case& c :
       {Case{{19, 3, 5, 33}, {1, 2, 0, 3}}, Case{{2, 3, 4, 3, 5, 8}, {0, 1, 3, 2, 4, 5}}, Case{{7, 6, 3, 2, 4}, {2, 0, 3, 1, 4}},
        Case{{1, 9, 13, 3}, {0, 3, 1, 2}}, Case{{3, 117}, {1, 0}}, Case{{300, 333}, {1, 0}}, Case{{40, 31, 63}, {0, 2, 1}},
        Case{{16, 32}, {1, 0}}, Case{{1, 5, 1}, {2, 1, 0}}}) {
    for (const DType dtype : {DType::float32, DType::int64, DType::boolean, DType::int8}) {
      std::vector<int> to;
      for (const int axis : c.perm) to.push_back(c.from[static_cast<size_t>(axis)]);
      const TensorDesc in = tensor(dtype, c.from, {}, kQuant), out = tensor(dtype, to, {}, kQuant);
      const Data x = random_data(in, 2);
      Data expected(out);
      reference::transpose(in, out, c.perm, x.bytes.data(), expected.bytes.data());
      check_step("movement", "transpose_any", {&x}, expected, {}, std::to_string(in.elements()) + " " + dtype_name(dtype),
                 [&](const KernelOptions& o) { return prepare_transpose(in, out, c.perm, o); });
    }
  }
}

// What is one run of the output may be computed there; what begins inside of a line of the cache, or comes in pieces, may not.
TEST(Movement, PlainPartsThatLieInTheOutput) {
  const auto places = [](const std::vector<TensorDesc>& parts, const TensorDesc& output, int axis) {
    const auto kernel = prepare_concat(parts, output, axis, {});
    return std::vector<int64_t>{kernel->place_in_output(0), kernel->place_in_output(1)};
  };
  using Places = std::vector<int64_t>;
  EXPECT_EQ(places({f32({1, 1, 48}), f32({1, 6, 48})}, f32({1, 7, 48}), 1), (Places{0, 192}));
  EXPECT_EQ(places({f32({1, 1, 40}), f32({1, 6, 40})}, f32({1, 7, 40}), 1), (Places{0, -1}));
  EXPECT_EQ(places({f32({2, 16}), f32({2, 16})}, f32({2, 32}), 1), (Places{-1, -1}));
}

TEST(Movement, Reshape) {
  const std::pair<std::vector<int>, std::vector<int>> cases[] = {
      {{1, 3, 5, 7}, {105}},
      {{105}, {1, 3, 5, 7}},
      {{2, 9, 1, 1}, {2, 9}},
      {{2, 9}, {2, 9, 1, 1}},
      {{2, 5, 7, 7}, {2, 245}},
      {{2, 6, 4, 5}, {2, 3, 8, 5}},
      {{2, 6, 4, 5}, {1, 12, 5, 4}},
      {{1, 2, 90, 70}, {1, 2, 6300}},
      {{3, 4, 10}, {2, 6, 10}},
      {{1}, {1, 1, 1, 1}},
      {{}, {1}},
      {{2, 8, 1, 1}, {1, 16, 1, 1}},
      {{1, 4, 2, 3}, {1, 2, 2, 2, 3}},
      {{1, 7, 1, 1}, {1, 1, 1, 7}},
      {{1, 41, 33, 37}, {41, 1221}},
      {{41, 1221}, {1, 41, 33, 37}},
  };
  for (const auto& c : cases) {
    for (const DType dtype : kDtypes) {
      for (const Border& border : kBorders) {
        const TensorDesc in = tensor(dtype, c.first, border, kQuant), out = tensor(dtype, c.second, {1, 2, 0, 1}, kQuant);
        for (const TensorDesc& to : {out, tensor(dtype, c.second, {}, kQuant)}) {
          const Data x = random_data(in, 3);
          Data expected(to);
          reference::reshape(in, to, x.bytes.data(), expected.bytes.data());
          check_step("movement", "reshape_any", {&x}, expected, {}, dtype_name(dtype),
                     [&](const KernelOptions& o) { return prepare_reshape(in, to, o); });
        }
      }
    }
  }
}

TEST(Movement, ChannelShuffle) {
  for (const DType dtype : {DType::float32, DType::int8}) {
    for (const Border& border : kBorders) {
      for (const int groups : {1, 2, 3, 6, 9}) {
        const int size = groups == 9 ? 41 : 5;  // the last one is work for two threads
        const TensorDesc in = tensor(dtype, {2, 18, size, 17}, border, kQuant),
                         out = tensor(dtype, {2, 18, size, 17}, {1, 2, 0, 1}, kQuant);
        const Data x = random_data(in, 4);
        Data expected(out);
        reference::channel_shuffle(in, out, groups, x.bytes.data(), expected.bytes.data());
        check_step("movement", "channel_shuffle_any", {&x}, expected, {}, dtype_name(dtype),
                   [&](const KernelOptions& o) { return prepare_channel_shuffle(in, out, groups, o); });
      }
    }
  }
}

struct Pad {
  const char* what;
  std::vector<int> in, before, out;
};

const Pad kPads[] = {
    {"nothing", {1, 3, 4, 5}, {0, 0, 0, 0}, {1, 3, 4, 5}},
    {"a frame", {2, 5, 4, 17}, {0, 0, 1, 2}, {2, 5, 7, 21}},
    {"channels", {1, 3, 2, 5}, {0, 2, 0, 0}, {1, 7, 2, 5}},
    {"batches", {1, 3, 2, 5}, {1, 0, 0, 0}, {3, 3, 2, 5}},
    {"plain", {3, 5}, {1, 2}, {4, 9}},
    {"work for two threads", {1, 41, 30, 35}, {0, 0, 1, 1}, {1, 41, 33, 37}},
    {"one element", {1}, {2}, {4}},
};

TEST(Movement, Pad) {
  for (const Pad& c : kPads) {
    for (const PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::edge, PadMode::wrap}) {
      for (const DType dtype : kDtypes) {
        const TensorDesc in = tensor(dtype, c.in, {1, 2, 0, 1}, kQuant), out = tensor(dtype, c.out, {0, 1, 1, 0}, kQuant);
        const Data x = random_data(in, 5);
        Data expected(out);
        reference::pad(in, out, c.before, mode, 1.5f, x.bytes.data(), expected.bytes.data());
        check_step("movement", "pad_any", {&x}, expected, {}, std::string(c.what) + " " + dtype_name(dtype),
                   [&](const KernelOptions& o) { return prepare_pad(in, out, c.before, mode, 1.5f, o); });
      }
    }
  }
}

TEST(Movement, PadWithNumbersOfEveryDtype) {
  const std::vector<int> before = {1};
  const auto first = [&](DType dtype, float value) {
    const TensorDesc in = tensor(dtype, {1}), out = tensor(dtype, {2});
    const Data x = random_data(in, 1), y = run_step(*prepare_pad(in, out, before, PadMode::constant, value, {}), {&x}, out, 1);
    Data expected(out);
    reference::pad(in, out, before, PadMode::constant, value, x.bytes.data(), expected.bytes.data());
    expect_same(expected, y, {}, dtype_name(dtype));
    int64_t bits = 0;
    std::memcpy(&bits, y.bytes.data(), dtype_bytes(dtype));
    return bits;
  };
  EXPECT_EQ(first(DType::int64, -2.7f), -2);
  EXPECT_EQ(first(DType::int64, 3e38f), INT64_MAX);
  EXPECT_EQ(first(DType::int64, -3e38f), INT64_MIN);
  EXPECT_EQ(static_cast<int32_t>(first(DType::int32, -2.7f)), -2);
  EXPECT_EQ(first(DType::uint8, 255.9f), 255);
  EXPECT_EQ(first(DType::uint8, 257.0f), 1);
  EXPECT_EQ(first(DType::boolean, 0.25f), 1);
  EXPECT_EQ(first(DType::boolean, 0.0f), 0);
}

// What is wrapped comes round again and again, as in numpy.
TEST(Movement, PadWrapsMoreThanOnce) {
  const TensorDesc in = f32({3}), out = f32({11});
  Data x(in);
  for (int i = 0; i < 3; ++i) x.floats()[i] = static_cast<float>(i);
  const Data y = run_step(*prepare_pad(in, out, std::vector<int>{4}, PadMode::wrap, 0.0f, {}), {&x}, out, 1);
  for (int i = 0; i < 11; ++i) EXPECT_EQ(y.floats()[i], static_cast<float>((i + 2) % 3)) << i;
}

// The tables of a step grow with its dimensions: what they take is told, and too much of it is refused before it is taken.
TEST(Movement, TablesAreCountedAndLimited) {
  const std::vector<int> start = {1}, step = {2};
  EXPECT_GE(prepare_pad(f32({900}), f32({1000}), start, PadMode::constant, 0, {})->packed_bytes(), 8 * 1000u);
  EXPECT_LT(prepare_slice(f32({2001}), f32({1000}), start, step, {})->packed_bytes(), 1000u) << "even steps need no table";
  EXPECT_GE(prepare_channel_shuffle(f32({1, 3000, 2, 2}), f32({1, 3000, 2, 2}), 3, {})->packed_bytes(), 4 * 3000u);
  const int large = 1 << 26;
  EXPECT_THROW(prepare_slice(f32({large}), f32({large - 1}), start, std::vector<int>{1}, {}), Error);
  const std::vector<TensorDesc> parts(255, tensor(DType::boolean, {1 << 16}));
  EXPECT_THROW(prepare_concat(parts, tensor(DType::boolean, {255 << 16}), 0, {}), Error);
}

TEST(Movement, RefusesWhatDoesNotFit) {
  const KernelOptions o;
  const std::vector<int> zeros = {0, 0}, ones = {1, 1}, twice = {0, 0}, swap = {1, 0};
  EXPECT_THROW(prepare_slice(f32({3, 4}), f32({3, 4}), ones, ones, o), Error);
  EXPECT_THROW(prepare_slice(s8({3, 4}, kQuant), s8({3, 4}, {1.0f, 0}), zeros, ones, o), Error);
  EXPECT_THROW(prepare_transpose(f32({3, 3}), f32({3, 3}), twice, o), Error);
  EXPECT_THROW(prepare_transpose(f32({3, 4}), f32({3, 4}), swap, o), Error);
  EXPECT_THROW(prepare_reshape(f32({3, 4}), f32({11}), o), Error);
  EXPECT_THROW(prepare_pad(f32({3, 4}), f32({3, 4}), ones, PadMode::edge, 0, o), Error);
  EXPECT_THROW(prepare_channel_shuffle(f32({1, 5, 2, 2}), f32({1, 5, 2, 2}), 2, o), Error);
  const std::vector<TensorDesc> parts = {f32({2, 3}), f32({2, 4})};
  EXPECT_THROW(prepare_concat(parts, f32({2, 8}), 1, o), Error);
  EXPECT_THROW(prepare_concat(parts, f32({4, 3}), 0, o), Error);
}

}  // namespace
}  // namespace edgelane
