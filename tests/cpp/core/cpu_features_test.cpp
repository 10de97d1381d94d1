#include "core/cpu_features.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/status.hpp"

namespace edgelane {
namespace {

constexpr Isa kAll[] = {Isa::scalar,      Isa::avx2, Isa::avx_vnni,     Isa::avx512,
                        Isa::avx512_vnni, Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm};

// Sets EDGELANE_ISA for one test and restores it.
class Environment {
 public:
  explicit Environment(const char* value) {
    const char* before = std::getenv("EDGELANE_ISA");
    had_ = before != nullptr;
    if (had_) before_ = before;
    if (value == nullptr)
      unsetenv("EDGELANE_ISA");
    else
      setenv("EDGELANE_ISA", value, 1);
  }
  ~Environment() {
    if (had_)
      setenv("EDGELANE_ISA", before_.c_str(), 1);
    else
      unsetenv("EDGELANE_ISA");
  }

 private:
  bool had_ = false;
  std::string before_;
};

TEST(CpuFeatures, ListsScalarFirstAndInOrder) {
  const std::vector<Isa>& isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::scalar);
  for (size_t i = 1; i < isas.size(); ++i) EXPECT_LT(isas[i - 1], isas[i]);
}

TEST(CpuFeatures, SelectsTheBestUnlessAsked) {
  Environment none(nullptr);
  EXPECT_EQ(select_isa(""), available_isas().back());
  EXPECT_EQ(select_isa("scalar"), Isa::scalar);
}

TEST(CpuFeatures, ReadsTheEnvironmentWhereNothingIsRequested) {
  Environment scalar("scalar");
  EXPECT_EQ(select_isa(""), Isa::scalar);
  const Isa best = available_isas().back();
  EXPECT_EQ(select_isa(isa_name(best)), best);
}

TEST(CpuFeatures, RefusesAnUnknownName) {
  try {
    select_isa("avx3");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), StatusCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("avx512_vnni"), std::string::npos) << "the known names are listed";
  }
}

TEST(CpuFeatures, RefusesWhatTheCpuLacks) {
  bool refused = false;
  for (Isa isa : kAll) {
    bool available = false;
    for (Isa have : available_isas()) available |= have == isa;
    if (available) {
      EXPECT_EQ(select_isa(isa_name(isa)), isa);
      continue;
    }
    refused = true;
    try {
      select_isa(isa_name(isa));
      FAIL() << isa_name(isa) << ": no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), StatusCode::unsupported);
    }
  }
  if (!refused) GTEST_SKIP() << "this CPU has every instruction set";
}

TEST(CpuFeatures, ALevelIncludesWhatEveryCpuOfThatLevelRuns) {
  const auto included = [](Isa level) {
    std::vector<Isa> found;
    for (Isa isa : kAll)
      if (isa_includes(level, isa)) found.push_back(isa);
    return found;
  };
  EXPECT_EQ(included(Isa::avx512_vnni), (std::vector<Isa>{Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_vnni}));
  EXPECT_EQ(included(Isa::avx512), (std::vector<Isa>{Isa::scalar, Isa::avx2, Isa::avx512}));
  EXPECT_EQ(included(Isa::avx_vnni), (std::vector<Isa>{Isa::scalar, Isa::avx2, Isa::avx_vnni}));
  EXPECT_EQ(included(Isa::avx2), (std::vector<Isa>{Isa::scalar, Isa::avx2}));
  EXPECT_EQ(included(Isa::neon_i8mm), (std::vector<Isa>{Isa::scalar, Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm}));
  EXPECT_EQ(included(Isa::neon_dotprod), (std::vector<Isa>{Isa::scalar, Isa::neon, Isa::neon_dotprod}));
  EXPECT_EQ(included(Isa::neon), (std::vector<Isa>{Isa::scalar, Isa::neon}));
  EXPECT_EQ(included(Isa::scalar), (std::vector<Isa>{Isa::scalar}));
}

TEST(CpuFeatures, EveryAvailableLevelComesWithAllThatItIncludes) {
  const std::vector<Isa>& isas = available_isas();
  for (Isa level : isas) {
    for (Isa isa : kAll) {
      if (!isa_includes(level, isa)) continue;
      EXPECT_NE(std::find(isas.begin(), isas.end(), isa), isas.end()) << isa_name(level) << " without " << isa_name(isa);
    }
  }
}

// Whoever knows what the CPU has, because he has chosen the emulated one, says so.
TEST(CpuFeatures, FindsWhatTheCpuIsKnownToHave) {
  const char* known = std::getenv("EDGELANE_EXPECTED_ISAS");
  if (known == nullptr) GTEST_SKIP() << "EDGELANE_EXPECTED_ISAS is not set";
  std::string found;
  for (Isa isa : available_isas()) found += (found.empty() ? "" : " ") + std::string(isa_name(isa));
  EXPECT_EQ(found, known);
}

TEST(CpuFeatures, NamesTheCpu) { EXPECT_FALSE(cpu_name().empty()); }

}  // namespace
}  // namespace edgelane
