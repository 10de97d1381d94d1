// Files that the fuzzer found, and those that it begins with: none may do harm, whatever this build's compiler and sanitizers
// are.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "runtime/every_op.hpp"
#include "runtime/hostile_file.hpp"

namespace edgelane {
namespace {

TEST(ModelCorpus, FilesThatTheFuzzerFoundDoNoHarm) {
  int files = 0, ran = 0;
  for (const auto& entry : std::filesystem::directory_iterator(EDGELANE_CORPUS)) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream in(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    ran += testing::try_hostile_file(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    ++files;
  }
  EXPECT_GT(files, 50);
  EXPECT_GT(ran, files / 10);  // a corpus that never comes past the first checks tests nothing
}

TEST(ModelCorpus, EveryOpRunsOnHostileInputs) {
  const AlignedBuffer<uint8_t> file = testing::every_op_writer().file();
  EXPECT_TRUE(testing::try_hostile_file(file.data(), file.size()));
}

}  // namespace
}  // namespace edgelane
