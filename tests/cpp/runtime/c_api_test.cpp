// The C interface and its C++ owner: status codes, messages, and that nothing crosses it as an exception.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "core/cores.hpp"
#include "edgelane/edgelane.hpp"
#include "runtime/every_op.hpp"

namespace edgelane {
namespace {

class CApi : public ::testing::Test {
 protected:
  void SetUp() override {
    const AlignedBuffer<uint8_t> file = testing::every_op_writer().file();
    bytes_.assign(file.data(), file.data() + file.size());
    path_ = ::testing::TempDir() + "/edgelane_c_api_test.lane";
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
    ASSERT_EQ(edgelane_load(path_.c_str(), nullptr, &session_), EDGELANE_OK) << edgelane_last_error();
    for (size_t i = 0; i < edgelane_input_count(session_); ++i) {
      edgelane_tensor_info info;
      ASSERT_EQ(edgelane_input_info(session_, i, &info), EDGELANE_OK);
      inputs_.push_back(arrays_.emplace_back(info.bytes).data());
    }
    for (size_t i = 0; i < edgelane_output_count(session_); ++i) {
      edgelane_tensor_info info;
      ASSERT_EQ(edgelane_output_info(session_, i, &info), EDGELANE_OK);
      outputs_.push_back(arrays_.emplace_back(info.bytes).data());
    }
  }
  void TearDown() override {
    edgelane_free(session_);
    std::remove(path_.c_str());
  }

  std::vector<uint8_t> bytes_;
  std::string path_;
  edgelane_session* session_ = nullptr;
  std::vector<std::vector<char>> arrays_;
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
};

TEST_F(CApi, DescribesTensors) {
  edgelane_tensor_info info;
  ASSERT_EQ(edgelane_input_info(session_, 0, &info), EDGELANE_OK);
  EXPECT_STREQ(info.name, "x");
  EXPECT_EQ(info.dtype, EDGELANE_FLOAT32);
  EXPECT_EQ(info.rank, 4);
  EXPECT_EQ(info.shape[3], 8);
  EXPECT_EQ(info.shape[4], 0);
  EXPECT_EQ(info.bytes, 8u * 8 * 8 * 4);
  EXPECT_EQ(info.quantized, 0);
  ASSERT_EQ(edgelane_output_info(session_, 1, &info), EDGELANE_OK);
  EXPECT_STREQ(info.name, "qs");
  EXPECT_EQ(info.dtype, EDGELANE_INT8);
  EXPECT_EQ(info.quantized, 1);
  EXPECT_EQ(info.scale, 0.3f);
  EXPECT_EQ(info.zero_point, 1);
  EXPECT_EQ(info.variable_rows, 0);
  int variable = 0;
  for (size_t i = 0; i < edgelane_output_count(session_); ++i) {
    ASSERT_EQ(edgelane_output_info(session_, i, &info), EDGELANE_OK);
    if (info.variable_rows == 0) continue;
    EXPECT_STREQ(info.name, "kept");  // the boxes that non_max_suppression keeps
    ++variable;
  }
  EXPECT_EQ(variable, 1);
  EXPECT_STREQ(edgelane_metadata(session_), "{}");
  EXPECT_EQ(edgelane_threads(session_), 1);
  EXPECT_NE(std::string(edgelane_plan(session_)).find("arena"), std::string::npos);
  EXPECT_STRNE(edgelane_version(), "");
}

TEST_F(CApi, RunsAndProfiles) {
  ASSERT_EQ(edgelane_run(session_, inputs_.data(), inputs_.size(), outputs_.data(), outputs_.size()), EDGELANE_OK);
  const edgelane_profile_row* rows = nullptr;
  size_t count = 0;
  ASSERT_EQ(edgelane_profile(session_, inputs_.data(), inputs_.size(), 1, &rows, &count), EDGELANE_OK);
  ASSERT_EQ(count, inputs_.size() + testing::every_op_writer().steps.size() + outputs_.size());
  EXPECT_STREQ(rows[2].step, "conv");
  EXPECT_STREQ(rows[2].op, "conv2d");
  double error = -1;
  int present = -1;
  ASSERT_EQ(edgelane_check_golden(session_, &error, &present), EDGELANE_OK);
  EXPECT_EQ(present, 0);
}

TEST_F(CApi, SameResultsFromMemoryAndThroughTheOwner) {
  ASSERT_EQ(edgelane_run(session_, inputs_.data(), inputs_.size(), outputs_.data(), outputs_.size()), EDGELANE_OK);
  api::Options options;
  options.threads = 2;
  api::Session owner(bytes_.data(), bytes_.size(), options);
  EXPECT_EQ(owner.threads(), 2);
  options.threads = 0;
  options.cores = cores_text(allowed_cores());
  EXPECT_EQ(api::Session(bytes_.data(), bytes_.size(), options).threads(), static_cast<int>(allowed_cores().size()));
  api::Session moved = std::move(owner);
  std::vector<std::vector<char>> results;
  std::vector<void*> outputs;
  for (const edgelane_tensor_info& info : moved.outputs()) outputs.push_back(results.emplace_back(info.bytes).data());
  moved.run(inputs_, outputs);
  for (size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i], arrays_[inputs_.size() + i]);
  EXPECT_FALSE(moved.check_golden().has_value());
  EXPECT_EQ(moved.profile(inputs_, 1).size(), inputs_.size() + testing::every_op_writer().steps.size() + outputs_.size());
  EXPECT_THROW(api::Session("/nonexistent.lane"), api::Error);
  options.self_test = true;
  EXPECT_THROW(api::Session(path_, options), api::Error);
}

TEST_F(CApi, EveryMistakeHasItsCodeAndMessage) {
  const auto expect = [](edgelane_status found, edgelane_status expected, const char* text) {
    EXPECT_EQ(found, expected);
    EXPECT_NE(std::string(edgelane_last_error()).find(text), std::string::npos) << edgelane_last_error();
  };
  edgelane_session* s = nullptr;
  edgelane_options options = {};
  expect(edgelane_load(nullptr, nullptr, &s), EDGELANE_INVALID_ARGUMENT, "expected a path, found NULL");
  expect(edgelane_load(path_.c_str(), nullptr, nullptr), EDGELANE_INVALID_ARGUMENT, "expected a place for the session");
  expect(edgelane_load("/nonexistent.lane", nullptr, &s), EDGELANE_NOT_FOUND, "/nonexistent.lane: there is no such file");
  EXPECT_EQ(s, nullptr);
  options.threads = -1;
  expect(edgelane_load(path_.c_str(), &options, &s), EDGELANE_INVALID_ARGUMENT, "found -1");
  options.threads = 1;
  options.isa = "mmx";
  expect(edgelane_load(path_.c_str(), &options, &s), EDGELANE_INVALID_ARGUMENT, "mmx");
  options.isa = nullptr;
  options.cores = "0-";
  expect(edgelane_load(path_.c_str(), &options, &s), EDGELANE_INVALID_ARGUMENT, "expected CPU numbers below 8192");
  const std::string one_core = std::to_string(allowed_cores().front());
  options.cores = one_core.c_str();
  options.threads = 2;
  expect(edgelane_load(path_.c_str(), &options, &s), EDGELANE_INVALID_ARGUMENT,
         "expected a CPU for each of 2 threads, found cores");
  options = {};
  options.self_test = 1;
  expect(edgelane_load(path_.c_str(), &options, &s), EDGELANE_SELF_TEST_FAILED, "expected a golden frame, found none");
  EXPECT_EQ(s, nullptr);
  expect(edgelane_load_memory(nullptr, 5, nullptr, &s), EDGELANE_INVALID_ARGUMENT, "expected a file in memory");
  expect(edgelane_load_memory(bytes_.data(), 0, nullptr, &s), EDGELANE_INVALID_FILE, "not a .lane file");
  expect(edgelane_load_memory(bytes_.data(), bytes_.size() - 1, nullptr, &s), EDGELANE_INVALID_FILE, "cut off");

  edgelane_tensor_info info;
  expect(edgelane_input_info(session_, 2, &info), EDGELANE_INVALID_ARGUMENT, "expected an input index below 2, found 2");
  const size_t outputs = outputs_.size();
  const std::string count_text = std::to_string(outputs), more_text = std::to_string(outputs + 1);
  expect(edgelane_output_info(session_, outputs + 1, &info), EDGELANE_INVALID_ARGUMENT,
         ("expected an output index below " + count_text + ", found " + more_text).c_str());
  expect(edgelane_input_info(nullptr, 0, &info), EDGELANE_INVALID_ARGUMENT, "expected a session");
  expect(edgelane_input_info(session_, 0, nullptr), EDGELANE_INVALID_ARGUMENT, "expected a place for the tensor info");

  const auto run = [&](edgelane_session* session, size_t in, size_t out) {
    return edgelane_run(session, inputs_.data(), in, outputs_.data(), out);
  };
  expect(run(nullptr, 2, outputs), EDGELANE_INVALID_ARGUMENT, "expected a session");
  expect(run(session_, 1, outputs), EDGELANE_INVALID_ARGUMENT, "expected 2 input arrays, found 1");
  expect(run(session_, 2, outputs + 1), EDGELANE_INVALID_ARGUMENT,
         ("expected " + count_text + " output arrays, found " + more_text).c_str());
  inputs_[1] = nullptr;
  expect(run(session_, 2, outputs), EDGELANE_INVALID_ARGUMENT, "expected an array for input \"ids\", found NULL");
  const edgelane_profile_row* rows = nullptr;
  size_t count = 0;
  expect(edgelane_profile(session_, inputs_.data(), 2, 1, &rows, &count), EDGELANE_INVALID_ARGUMENT, "found NULL");
  inputs_[1] = inputs_[0];
  expect(edgelane_profile(session_, inputs_.data(), 2, 0, &rows, &count), EDGELANE_INVALID_ARGUMENT,
         "expected repeats of 1 or more");
  expect(edgelane_check_golden(session_, nullptr, nullptr), EDGELANE_INVALID_ARGUMENT, "expected a place for the error");

  // Queries of a session that is not there are empty, and freeing it does nothing.
  EXPECT_EQ(edgelane_input_count(nullptr), 0u);
  EXPECT_EQ(edgelane_output_count(nullptr), 0u);
  EXPECT_STREQ(edgelane_metadata(nullptr), "");
  EXPECT_STREQ(edgelane_isa(nullptr), "");
  edgelane_free(nullptr);
}

TEST_F(CApi, MessagesStayOnOneLineWhateverTheFileSays) {
  testing::LaneWriter w;
  w.step("copy", Op::reshape, {w.input("two\nlines", DType::float32, {1})}, w.output("y", DType::float32, {1}));
  const AlignedBuffer<uint8_t> file = w.file();
  edgelane_session* s = nullptr;
  ASSERT_EQ(edgelane_load_memory(file.data(), file.size(), nullptr, &s), EDGELANE_OK) << edgelane_last_error();
  const void* inputs[] = {nullptr};
  EXPECT_EQ(edgelane_run(s, inputs, 1, outputs_.data(), 1), EDGELANE_INVALID_ARGUMENT);
  EXPECT_STREQ(edgelane_last_error(), "expected an array for input \"two?lines\", found NULL");
  edgelane_free(s);
}

TEST_F(CApi, TheLastErrorBelongsToItsThread) {
  edgelane_session* s = nullptr;
  EXPECT_EQ(edgelane_load("/nonexistent.lane", nullptr, &s), EDGELANE_NOT_FOUND);
  const std::string mine = edgelane_last_error();
  std::thread([] {
    EXPECT_STREQ(edgelane_last_error(), "");
    edgelane_session* other = nullptr;
    EXPECT_EQ(edgelane_load(nullptr, nullptr, &other), EDGELANE_INVALID_ARGUMENT);
  }).join();
  EXPECT_EQ(mine, edgelane_last_error());
}

}  // namespace
}  // namespace edgelane
