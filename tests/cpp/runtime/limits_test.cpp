// What a small file cannot ask for, and how a caller moves the limits.
#include "runtime/limits.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "runtime/every_op.hpp"
#include "runtime/model_file.hpp"

namespace edgelane {
namespace {

using testing::ints;
using testing::LaneWriter;
using K = AttributeKey;

std::string error_of(const LaneWriter& writer, const SessionOptions& options = {}) {
  try {
    Session::load(writer.file(), "test.lane", options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\n  expected: " << part;
}

SessionOptions with_memory(uint64_t bytes) {
  SessionOptions options;
  options.memory_limit_bytes = bytes;
  return options;
}

// x + relu(x): 2 and 3 times as many operations as there are elements.
LaneWriter two_steps(uint32_t elements) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {elements});
  const uint32_t h = w.intermediate("h", DType::float32, {elements}), y = w.output("y", DType::float32, {elements});
  w.step("relu", Op::unary, {x}, h, {ints(K::activation, {1})});
  w.step("add", Op::binary, {x, h}, y, {ints(K::function, {0})});
  return w;
}

TEST(Limits, ActivationsPastTheMemoryLimit) {
  const LaneWriter w = two_steps(1 << 20);
  EXPECT_EQ(error_of(w, with_memory(uint64_t{12} << 20)), "");
  expect_contains(error_of(w, with_memory((uint64_t{4} << 20) - 1)),
                  "tensor \"x\": expected an activation of at most 4194303 bytes, found 1 times 4194304 bytes");
  expect_contains(error_of(w, with_memory(uint64_t{9} << 20)), "expected activations of at most 9437184 bytes at a time");
}

TEST(Limits, PackedWeightsCountTogetherWithActivations) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1024, 256}), y = w.output("y", DType::float32, {1024, 256});
  w.step("linear", Op::linear, {x, w.constant("w", {256, 256}, std::vector<float>(256 * 256, 1.0f))}, y);
  const std::unique_ptr<Session> session = Session::load(w.file(), "test.lane", {});
  const size_t packed = session->packed_bytes(), activations = session->arena_bytes();
  ASSERT_GE(packed, 256u * 256 * 4);
  EXPECT_EQ(error_of(w, with_memory(activations + packed)), "");
  expect_contains(error_of(w, with_memory(activations + packed - 1)),
                  "bytes at a time beside " + std::to_string(packed) + " bytes of packed weights and tables, found");
}

TEST(Limits, ConstantsTogether) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1024, 1, 1});
  uint32_t last = x;
  // Every one of the block bitmasks takes 8 KiB in the file and stands for 4 MiB of zeros.
  for (int i = 0; i < 5; ++i) {
    const std::string name = std::to_string(i);
    const uint32_t weights = w.sparse_constant("w" + name, {1024, 1024, 1, 1}, std::vector<float>(1024 * 1024), 4, 4);
    const auto add = i == 4 ? &LaneWriter::output : &LaneWriter::intermediate;
    const uint32_t next = (w.*add)("y" + name, DType::float32, {1, 1024, 1, 1}, 0.0f, 0);
    w.step("conv", Op::conv2d, {last, weights}, next);
    last = next;
  }
  EXPECT_EQ(error_of(w, with_memory(uint64_t{20} << 20)), "");
  expect_contains(error_of(w, with_memory(uint64_t{19} << 20)),
                  "expected constants of at most 19922944 bytes together, found 20971520");
  expect_contains(error_of(w, with_memory(uint64_t{15} << 20)),
                  "\"w0\": expected a constant of at most 3932160 bytes, found 4194304");
}

// A window of 3000 x 3000 at every one of 3000 x 3000 places: 8.1e13 operations in a file of a few hundred bytes.
TEST(Limits, Operations) {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {1, 1, 3000, 3000}), y = w.output("y", DType::float32, {1, 1, 3000, 3000});
  w.step("pool", Op::average_pool2d, {x}, y,
         {ints(K::kernel_shape, {2999, 2999}), ints(K::pads, {1499, 1499, 1499, 1499}), ints(K::count_include_pad, {1})});
  expect_contains(error_of(w), "step \"pool\": expected a run of at most 17592186044416 operations, found 8.0");
  SessionOptions options;
  options.operation_limit = uint64_t{1} << 50;
  EXPECT_EQ(error_of(w, options), "");
  const LaneWriter small = two_steps(8);
  options.operation_limit = 39;
  expect_contains(error_of(small, options), "step \"add\": expected a run of at most 39 operations, found 40");
  options.operation_limit = 40;
  EXPECT_EQ(error_of(small, options), "");
}

TEST(Limits, Tables) {
  LaneWriter w;
  const uint32_t n = 1 << 20;  // a table of 8 bytes for each index of an axis
  const uint32_t x = w.input("x", DType::int8, {n, 1, 1}, 0.5f, 0), y = w.output("y", DType::int8, {n / 2, 1, 1}, 0.5f, 0);
  w.step("slice", Op::slice, {x}, y, {ints(K::starts, {0, 0, 0}), ints(K::steps, {2, 1, 1})});
  EXPECT_EQ(error_of(w), "");
  expect_contains(error_of(w, with_memory(uint64_t{16} << 20)),
                  "expected tables of at most 1048576 bytes for these shapes, found 41");
}

class Environment {
 public:
  explicit Environment(const char* value) { ::setenv("EDGELANE_MEMORY_LIMIT", value, 1); }
  ~Environment() { ::unsetenv("EDGELANE_MEMORY_LIMIT"); }
};

TEST(Limits, Environment) {
  const auto limit = [](const char* text) {
    const Environment environment(text);
    return select_limits({}, {}).memory_bytes;
  };
  EXPECT_EQ(limit("123"), 123u);
  EXPECT_EQ(limit("3K"), 3u << 10);
  EXPECT_EQ(limit("3M"), 3u << 20);
  EXPECT_EQ(limit("3G"), size_t{3} << 30);
  EXPECT_EQ(limit(""), default_memory_limit());
  for (const char* wrong : {"G", "-1", "1 G", "1GB", "1.5G", "0x10", "9999999999999999999", "9999999999G"}) {
    try {
      limit(wrong);
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::invalid_argument);
      expect_contains(error.what(),
                      std::string("EDGELANE_MEMORY_LIMIT: expected a number of bytes such as 536870912, 512M or 8G, found \"") +
                          wrong + "\"");
    }
  }
  const Environment environment("1K");
  EXPECT_EQ(select_limits(4096, {}).memory_bytes, 4096u);  // what the caller says comes first
  EXPECT_EQ(select_limits({}, {}).operations, kMaxOperations);
  EXPECT_THROW(select_limits(0, {}), Error);
  EXPECT_THROW(select_limits({}, 0), Error);
}

TEST(Limits, DefaultIsHalfOfTheMemoryAtMost) {
  EXPECT_GT(default_memory_limit(), size_t{64} << 20);
  EXPECT_LE(default_memory_limit(), kMaxMemoryBytes);
}

TEST(Limits, LargeFiles) {
  const std::string path = ::testing::TempDir() + "/edgelane_limits_test.lane";
  const AlignedBuffer<uint8_t> file = testing::every_op_writer().file();
  std::FILE* out = std::fopen(path.c_str(), "wb");
  ASSERT_NE(out, nullptr);
  std::fwrite(file.data(), 1, file.size(), out);
  std::fclose(out);
  try {
    Limits limits;
    limits.memory_bytes = file.size() - 1;
    load_model(path, limits);
    ADD_FAILURE();
  } catch (const Error& error) {
    expect_contains(error.what(), "expected a file of at most " + std::to_string(file.size() - 1) + " bytes, found ");
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace edgelane
