// Inputs, constants and outputs of every dtype and rank, through networks that only copy: at any address, on one and on two
// threads.
#include "runtime/transfer.hpp"

#include <gtest/gtest.h>

#include "runtime/every_op.hpp"

namespace edgelane {
namespace {

using namespace testing;

constexpr DType kDTypes[] = {DType::float32, DType::int8, DType::int32, DType::int64, DType::boolean, DType::uint8};

const LaneWriter::Dims kShapes[] = {
    {}, {1}, {37}, {3, 5}, {2, 3, 7}, {2, 5, 6, 9}, {1, 3, 40, 41}, {2, 1, 3, 2, 5}, {1, 2, 3, 1, 2, 5}, {2, 40001}};

std::vector<uint8_t> random_bytes(size_t count, uint32_t seed) {
  Numbers r(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(r.below(3) == 0 ? 0 : r.below(256));
  return bytes;
}

// What a copy of `bytes` is: the same, but bools as 0 and 1.
std::vector<uint8_t> expected_copy(DType dtype, std::vector<uint8_t> bytes) {
  for (uint8_t& b : bytes) b = dtype == DType::boolean ? b != 0 : b;
  return bytes;
}

size_t bytes_of(DType dtype, const LaneWriter::Dims& dims) {
  size_t n = dtype_bytes(dtype);
  for (const uint32_t d : dims) n *= d;
  return n;
}

std::vector<uint8_t> run(Session* session, const void* input, size_t bytes) {
  std::vector<uint8_t> y(bytes + 1, 0xCD);
  const void* inputs[] = {input};
  void* outputs[] = {y.data() + 1};  // at an odd address
  EXPECT_EQ(session->run(inputs, outputs), StatusCode::ok);
  EXPECT_EQ(y[0], 0xCD);
  y.erase(y.begin());
  return y;
}

TEST(Transfer, AnOutputMayBeACopyOfAnInput) {
  for (const DType dtype : kDTypes) {
    const float scale = dtype == DType::int8 ? 1.0f : 0.0f;  // integers that mean themselves
    for (const LaneWriter::Dims& dims : kShapes) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " of rank " + std::to_string(dims.size()));
      LaneWriter w;
      w.step("copy", Op::reshape, {w.input("x", dtype, dims, scale)}, w.output("y", dtype, dims, scale));
      const size_t bytes = bytes_of(dtype, dims);
      std::vector<uint8_t> x = random_bytes(bytes + 1, static_cast<uint32_t>(bytes));
      for (const int threads : {1, 2}) {
        const std::unique_ptr<Session> session = load(w, threads);
        ASSERT_EQ(session->inputs()[0].bytes, bytes);
        ASSERT_EQ(session->outputs()[0].bytes, bytes);
        EXPECT_EQ(session->outputs()[0].dtype, dtype);
        EXPECT_EQ(run(session.get(), x.data() + 1, bytes), expected_copy(dtype, {x.begin() + 1, x.end()}));
      }
    }
  }
}

TEST(Transfer, AnOutputMayBeACopyOfAConstant) {
  for (const DType dtype : kDTypes) {
    for (const LaneWriter::Dims& dims : kShapes) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " of rank " + std::to_string(dims.size()));
      LaneWriter w;
      const std::vector<uint8_t> data = random_bytes(bytes_of(dtype, dims), 5);
      const uint32_t c = w.constant("c", dims, data, dtype == DType::int8 ? std::vector<float>{1.0f} : std::vector<float>{});
      w.tensors[c].dtype = static_cast<uint8_t>(dtype);
      const uint32_t x = w.input("x", DType::float32, {1});
      w.step("copy", Op::reshape, {c}, w.output("y", dtype, dims, dtype == DType::int8 ? 1.0f : 0.0f));
      w.step("relu", Op::unary, {x}, w.intermediate("unused", DType::float32, {1}), {ints(AttributeKey::activation, {1})});
      const float one = 1.0f;
      const std::unique_ptr<Session> session = load(w);
      for (int repeat = 0; repeat < 2; ++repeat)  // the first run must not use up the constant
        EXPECT_EQ(run(session.get(), &one, data.size()), expected_copy(dtype, data));
    }
  }
}

TEST(Transfer, BoolsOfACallerAreTrueUnlessTheyAreZero) {
  // `and` works on bits: bytes such as 2 and 5 would have none in common.
  LaneWriter w;
  const uint32_t a = w.input("a", DType::boolean, {4}), b = w.constant("b", {4}, std::vector<uint8_t>{2, 2, 0, 0});
  w.step("and", Op::binary, {a, b}, w.output("y", DType::boolean, {4}), {ints(AttributeKey::function, {12})});
  const uint8_t x[] = {5, 0, 4, 0};
  EXPECT_EQ(run(load(w).get(), x, 4), (std::vector<uint8_t>{1, 0, 0, 0}));
}

}  // namespace
}  // namespace edgelane
