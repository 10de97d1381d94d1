#include "core/cores.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/status.hpp"

namespace edgelane {
namespace {

class CoresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* before = std::getenv("EDGELANE_CORES");
    if (before != nullptr) before_ = before;
    ::unsetenv("EDGELANE_CORES");
  }
  void TearDown() override {
    ::unsetenv("EDGELANE_CORES");
    if (!before_.empty()) ::setenv("EDGELANE_CORES", before_.c_str(), 1);
  }

  static std::string refusal(const std::string& request) {
    try {
      select_cores(request);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::invalid_argument);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.what();
    }
    return "accepted";
  }

 private:
  std::string before_;
};

TEST_F(CoresTest, TextOfLists) {
  EXPECT_EQ(cores_text({}), "");
  EXPECT_EQ(cores_text({4}), "4");
  EXPECT_EQ(cores_text({0, 1, 2, 3, 6}), "0-3,6");
  EXPECT_EQ(cores_text({3, 2, 5, 6}), "3,2,5-6");
}

TEST_F(CoresTest, TakesWhatThisProcessMayUse) {
  const std::vector<int> allowed = allowed_cores();
  ASSERT_FALSE(allowed.empty());
  EXPECT_EQ(select_cores(""), std::vector<int>{});
  EXPECT_EQ(select_cores(cores_text(allowed)), allowed);
  const std::vector<int> backwards(allowed.rbegin(), allowed.rend());
  EXPECT_EQ(select_cores(cores_text(backwards)), backwards) << "in the order in which threads take them";
}

TEST_F(CoresTest, TheEnvironmentSpeaksWhereTheCallerDoesNot) {
  const std::vector<int> allowed = allowed_cores();
  ::setenv("EDGELANE_CORES", std::to_string(allowed.back()).c_str(), 1);
  EXPECT_EQ(select_cores(""), std::vector<int>{allowed.back()});
  EXPECT_EQ(select_cores(std::to_string(allowed.front())), std::vector<int>{allowed.front()});
  ::setenv("EDGELANE_CORES", "two", 1);
  EXPECT_EQ(refusal(""), "EDGELANE_CORES: expected CPU numbers below 8192 such as 2,3 or 0-3, found 'two'");
  ::setenv("EDGELANE_CORES", "", 1);
  EXPECT_EQ(select_cores(""), std::vector<int>{});
}

TEST_F(CoresTest, RefusesWhatIsNoList) {
  for (const char* text :
       {",", "0,", ",0", "0,,1", "-1", "1-", "3-1", "0 1", "0;1", "0x1", "8192", "99999999999999999999", "0-99999"}) {
    EXPECT_NE(refusal(text).find("cores: expected CPU numbers"), std::string::npos) << text << ": " << refusal(text);
  }
  const std::string core = std::to_string(allowed_cores().front());
  EXPECT_NE(refusal(core + "," + core).find("expected each CPU once, found " + core + " twice"), std::string::npos);
}

TEST_F(CoresTest, RefusesWhatThisProcessMayNotUse) {
  EXPECT_NE(refusal("8191").find("CPU 8191 is not available to this process, which may use"), std::string::npos);
}

TEST_F(CoresTest, RefusesFewerThanThreads) {
  EXPECT_NO_THROW(check_cores({}, 5));
  EXPECT_NO_THROW(check_cores({3, 4}, 2));
  try {
    check_cores({3, 4}, 3);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "expected a CPU for each of 3 threads, found cores 3-4");
  }
}

}  // namespace
}  // namespace edgelane
