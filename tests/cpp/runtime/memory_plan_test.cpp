#include "runtime/memory_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/aligned_buffer.hpp"
#include "runtime/every_op.hpp"

namespace edgelane {
namespace {

size_t lower_bound_of(const std::vector<BufferRequest>& requests) {
  size_t largest = 0;
  for (const BufferRequest& at : requests) {  // the most that lives together, which begins with some buffer
    size_t together = 0;
    for (const BufferRequest& r : requests) {
      if (r.first <= at.first && at.first <= r.last) together += align_up(r.bytes);
    }
    largest = std::max(largest, together);
  }
  return largest;
}

TEST(MemoryPlan, Empty) {
  const MemoryPlan plan = plan_memory({});
  EXPECT_EQ(plan.arena_bytes, 0u);
  EXPECT_EQ(verify_memory_plan({}, plan), "");
}

TEST(MemoryPlan, AChainUsesTwoBuffersInTurn) {
  std::vector<BufferRequest> requests;
  for (int i = 0; i < 10; ++i) requests.push_back({"t" + std::to_string(i), 1000, i, i + 1});
  const MemoryPlan plan = plan_memory(requests);
  EXPECT_EQ(verify_memory_plan(requests, plan), "");
  EXPECT_EQ(plan.arena_bytes, 2 * align_up(1000));
}

TEST(MemoryPlan, AResidualStaysAliveAcrossItsBlock) {
  const std::vector<BufferRequest> requests = {{"x", 640, 0, 3}, {"a", 640, 1, 2}, {"b", 640, 2, 3}, {"y", 640, 3, 4}};
  const MemoryPlan plan = plan_memory(requests);
  EXPECT_EQ(verify_memory_plan(requests, plan), "");
  for (size_t i = 1; i < 4; ++i) EXPECT_NE(plan.offsets[i], plan.offsets[0]);
}

TEST(MemoryPlan, AChainInPlaceUsesOneBuffer) {
  std::vector<BufferRequest> requests;
  for (int i = 0; i < 10; ++i) requests.push_back({"t" + std::to_string(i), 1000, i, i + 1, i - 1});
  const MemoryPlan plan = plan_memory(requests);
  EXPECT_EQ(verify_memory_plan(requests, plan), "");
  EXPECT_EQ(plan.arena_bytes, align_up(1000));
  std::reverse(requests.begin(), requests.end());  // the order of the requests is not that of time
  for (int i = 0; i < 10; ++i) requests[static_cast<size_t>(i)].replaces = i == 9 ? -1 : i + 1;
  EXPECT_EQ(verify_memory_plan(requests, plan_memory(requests)), "");
}

TEST(MemoryPlan, WhatIsReplacedStaysAliveUntilThen) {
  // y takes over x, which lives beside a and b until then; c lives beside y only.
  const std::vector<BufferRequest> requests = {
      {"x", 640, 0, 3}, {"a", 640, 1, 2}, {"b", 640, 2, 3}, {"y", 640, 3, 4, 0}, {"c", 640, 4, 5}};
  const MemoryPlan plan = plan_memory(requests);
  EXPECT_EQ(verify_memory_plan(requests, plan), "");
  EXPECT_EQ(plan.offsets[3], plan.offsets[0]);
  EXPECT_EQ(plan.arena_bytes, 3 * 640u);
}

TEST(MemoryPlan, TheVerifierRefusesToReplaceWhatIsStillThere) {
  const auto expect_wrong = [](const std::vector<BufferRequest>& requests, std::vector<size_t> offsets, const char* expected) {
    MemoryPlan plan;
    plan.offsets = std::move(offsets);
    plan.arena_bytes = 1024;
    EXPECT_NE(verify_memory_plan(requests, plan).find(expected), std::string::npos) << verify_memory_plan(requests, plan);
  };
  const BufferRequest x{"x", 100, 0, 2};
  EXPECT_EQ(verify_memory_plan({std::vector<BufferRequest>{x, {"y", 100, 2, 3, 0}}}, {{0, 0}, 128}), "");
  expect_wrong({x, {"y", 100, 1, 3, 0}}, {0, 0}, "cannot take over from \"x\" at time 1");                // x lives on
  expect_wrong({x, {"y", 100, 3, 4, 0}}, {0, 0}, "cannot take over from \"x\" at time 3");                // x is gone
  expect_wrong({x, {"y", 100, 2, 3, 0}}, {0, 128}, "cannot take over from \"x\" at time 2");              // elsewhere
  expect_wrong({x, {"y", 101, 2, 3, 0}}, {0, 0}, "cannot take over from \"x\" at time 2");                // larger
  expect_wrong({x, {"y", 100, 2, 3, 0}, {"z", 100, 2, 3, 0}}, {0, 0, 0}, "cannot take over from \"x\"");  // twice
  expect_wrong({x, {"y", 100, 2, 4, 0}, {"z", 100, 3, 3}}, {0, 0, 64}, "\"z\" at 64 to 164 overlaps \"y\" at time 3");
}

TEST(MemoryPlan, PartsLieInsideWhatTheyBecome) {
  // a, then b in its place, and c become y; z takes y's place, and is itself the second part of w.
  std::vector<BufferRequest> requests = {{"a", 128, 0, 1}, {"b", 128, 1, 3, 0, 3, 0},  {"c", 64, 2, 3, -1, 3, 128},
                                         {"y", 192, 3, 4}, {"z", 192, 4, 6, 3, 6, 64}, {"v", 64, 5, 6, -1, 6, 0},
                                         {"w", 256, 6, 7}, {"other", 64, 1, 6}};
  const MemoryPlan plan = plan_memory(requests);
  EXPECT_EQ(verify_memory_plan(requests, plan), "");
  const size_t w = plan.offsets[6];
  for (const auto& [request, at] : std::vector<std::pair<size_t, size_t>>{{0, 64}, {1, 64}, {2, 192}, {3, 64}, {4, 64}, {5, 0}})
    EXPECT_EQ(plan.offsets[request], w + at) << requests[request].name;
  EXPECT_EQ(plan.arena_bytes, 256u + 64);
}

TEST(MemoryPlan, TheVerifierRefusesPartsThatAreNot) {
  const auto wrong = [](const std::vector<BufferRequest>& requests, std::vector<size_t> offsets) {
    MemoryPlan plan;
    plan.offsets = std::move(offsets);
    plan.arena_bytes = 1024;
    return verify_memory_plan(requests, plan);
  };
  const BufferRequest y{"y", 192, 2, 3}, a{"a", 128, 0, 2, -1, 0, 0}, b{"b", 64, 1, 2, -1, 0, 128};
  EXPECT_EQ(wrong({y, a, b}, {0, 0, 128}), "");
  EXPECT_EQ(wrong({y, a, b}, {0, 0, 256}), "") << "a part that lies elsewhere is copied";
  EXPECT_NE(wrong({y, a, b}, {0, 64, 192}), "");                                                  // not where it belongs
  EXPECT_NE(wrong({y, a, {"b", 64, 1, 3, -1, 0, 128}}, {0, 0, 128}), "");                         // lives on
  EXPECT_NE(wrong({y, a, {"b", 64, 1, 2}}, {0, 0, 128}), "");                                     // no part of it
  EXPECT_NE(wrong({y, a, {"b", 128, 1, 2, -1, 0, 128}}, {0, 0, 128}), "");                        // reaches beyond it
  EXPECT_NE(wrong({y, {"a", 128, 0, 2, -1, 0, 0}, {"b", 64, 1, 2, -1, 0, 64}}, {0, 0, 64}), "");  // two parts on one byte
}

TEST(MemoryPlan, RandomGraphsAreSoundAndNotWasteful) {
  std::mt19937 random(11);
  size_t planned = 0, needed = 0;
  for (int graph = 0; graph < 300; ++graph) {
    const int steps = 1 + static_cast<int>(random() % 60);
    std::vector<BufferRequest> requests;
    for (int i = 0; i < steps; ++i) {
      const int last = std::min(steps, i + static_cast<int>(random() % (random() % 8 == 0 ? 40 : 3)));
      const size_t bytes = random() % 10 == 0 ? 0 : 1 + random() % (1u << random() % 20);
      requests.push_back({"t" + std::to_string(i), bytes, i, last});
      requests.push_back({"w" + std::to_string(i), random() % 5000, i, i});
    }
    const MemoryPlan plan = plan_memory(requests);
    ASSERT_EQ(verify_memory_plan(requests, plan), "") << "graph " << graph;
    planned += plan.arena_bytes;
    needed += lower_bound_of(requests);
  }
  // Greedy by size is within a few percent of what must live together; a plan without sharing would be several times that.
  EXPECT_LT(static_cast<double>(planned), 1.15 * static_cast<double>(needed));
}

TEST(MemoryPlan, TheVerifierFindsEveryKindOfMistake) {
  const std::vector<BufferRequest> requests = {{"a", 100, 0, 2}, {"b", 100, 2, 3}, {"c", 100, 4, 5}};
  MemoryPlan good;
  good.offsets = {0, 128, 0};
  good.arena_bytes = 256;
  EXPECT_EQ(verify_memory_plan(requests, good), "");

  const auto expect_wrong = [&](std::vector<size_t> offsets, size_t arena_bytes, const char* expected) {
    MemoryPlan plan;
    plan.offsets = std::move(offsets);
    plan.arena_bytes = arena_bytes;
    EXPECT_NE(verify_memory_plan(requests, plan).find(expected), std::string::npos) << verify_memory_plan(requests, plan);
  };
  expect_wrong({0, 0, 0}, 256, "overlaps");
  expect_wrong({0, 64, 0}, 256, "overlaps");
  expect_wrong({64, 0, 0}, 256, "overlaps");
  expect_wrong({0, 100, 0}, 256, "multiple of 64");
  expect_wrong({0, 192, 0}, 256, "expected to end within 256");
  expect_wrong({0, ~size_t{63}, 0}, 256, "expected to end within 256");
  expect_wrong({0, 128}, 256, "expected 3 offsets");
  const std::vector<BufferRequest> backwards = {{"a", 8, 3, 2}};
  EXPECT_NE(verify_memory_plan(backwards, plan_memory(backwards)), "");
}

// Random overlaps that are planted into sound plans are all found; the check here compares every pair.
TEST(MemoryPlan, TheVerifierAgreesWithComparingAllPairs) {
  std::mt19937 random(5);
  int broken = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<BufferRequest> requests;
    MemoryPlan plan;
    plan.arena_bytes = 64 * 40;
    for (int i = 0; i < 6; ++i) {
      const int first = static_cast<int>(random() % 8);
      requests.push_back({"t", 1 + random() % 300, first, first + static_cast<int>(random() % 3)});
      plan.offsets.push_back(64 * (random() % 30));
    }
    bool overlap = false;
    for (size_t i = 0; i < 6; ++i) {
      for (size_t j = 0; j < i; ++j) {
        const bool time = requests[i].first <= requests[j].last && requests[j].first <= requests[i].last;
        const bool place =
            plan.offsets[i] < plan.offsets[j] + requests[j].bytes && plan.offsets[j] < plan.offsets[i] + requests[i].bytes;
        overlap = overlap || (time && place);
      }
    }
    EXPECT_EQ(!verify_memory_plan(requests, plan).empty(), overlap) << "round " << round;
    broken += overlap ? 1 : 0;
  }
  EXPECT_GT(broken, 200);
  EXPECT_LT(broken, 1800);
}

}  // namespace
}  // namespace edgelane
