#include "core/thread_pool.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "core/status.hpp"

namespace edgelane {
namespace {

class ThreadPoolTest : public ::testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEveryTaskExactlyOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const int tasks : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<std::atomic<int>> count(static_cast<size_t>(tasks));
    std::atomic<bool> worker_in_range{true};
    pool.parallel_for(tasks, [&](int task, int worker) {
      count[static_cast<size_t>(task)].fetch_add(1);
      if (worker < 0 || worker >= GetParam()) worker_in_range = false;
    });
    for (const auto& c : count) EXPECT_EQ(c.load(), 1);
    EXPECT_TRUE(worker_in_range.load());
  }
}

TEST_P(ThreadPoolTest, ManyShortJobsSeeTheWritesOfTheJobBefore) {
  ThreadPool pool(GetParam());
  std::vector<int> values(64, 0);
  for (int job = 0; job < 5000; ++job) {
    pool.parallel_for(64, [&](int task, int) {
      const auto i = static_cast<size_t>(task);
      values[i] += 1;
    });
  }
  for (const int v : values) EXPECT_EQ(v, 5000);
}

TEST_P(ThreadPoolTest, WakesWorkersThatWentToSleep) {
  ThreadPool pool(GetParam());
  for (int job = 0; job < 5; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> sum{0};
    pool.parallel_for(100, [&](int task, int) { sum += task; });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST_P(ThreadPoolTest, ATaskMayRunTasksOfItsOwn) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> count(16 * 16);
  std::atomic<bool> same_worker{true};
  pool.parallel_for(16, [&](int outer, int worker) {
    pool.parallel_for(16, [&](int inner, int inner_worker) {
      count[static_cast<size_t>(outer * 16 + inner)].fetch_add(1);
      if (inner_worker != worker) same_worker = false;
    });
  });
  for (const auto& c : count) EXPECT_EQ(c.load(), 1);
  EXPECT_TRUE(same_worker.load()) << "scratch memory is indexed by worker, so a nested task stays on its worker";
}

TEST_P(ThreadPoolTest, ATaskMayUseAnotherPool) {
  ThreadPool outer_pool(GetParam());
  std::vector<std::unique_ptr<ThreadPool>> inner_pools;
  for (int i = 0; i < GetParam(); ++i) inner_pools.push_back(std::make_unique<ThreadPool>(2));
  std::atomic<int> sum{0};
  outer_pool.parallel_for(40,
                          [&](int, int worker) { inner_pools[worker]->parallel_for(10, [&](int task, int) { sum += task; }); });
  EXPECT_EQ(sum.load(), 40 * 45);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, ::testing::Values(1, 2, 3, 8));

TEST(ThreadPoolTest, WorkIsSharedBetweenThreads) {
  ThreadPool pool(2);
  std::atomic<int> workers{0};
  // Both tasks wait for each other, so this ends only when two threads run them at the same time.
  pool.parallel_for(2, [&](int, int) {
    workers.fetch_add(1);
    while (workers.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(workers.load(), 2);
}

TEST(ThreadPoolTest, StartsAndStopsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

// A child of fork() inherits the pool and none of its workers, as a data loader's processes do: it must neither wait for them
// nor end in them. The workers sleep, spin or work when it happens.
TEST(ThreadPoolTest, WorksInAChildOfFork) {
  for (const int idle_ms : {0, 20}) {
    auto pool = std::make_unique<ThreadPool>(4);
    std::atomic<int> sum{0};
    pool->parallel_for(100, [&](int task, int) { sum += task; });
    std::this_thread::sleep_for(std::chrono::milliseconds(idle_ms));
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(20);  // a child that hangs ends by a signal
      sum = 0;
      pool->parallel_for(100, [&](int task, int) { sum += task; });
      pool.reset();
      ThreadPool own(4);
      own.parallel_for(100, [&](int task, int) { sum += task; });
      ::_exit(sum.load() == 2 * 4950 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status << " after " << idle_ms << " ms";
    sum = 0;
    pool->parallel_for(100, [&](int task, int) { sum += task; });
    EXPECT_EQ(sum.load(), 4950) << "the parent goes on";
  }
}

TEST(ThreadPoolTest, RefusesThreadCountsThatMakeNoSense) {
  for (const int threads : {0, -1, 100000}) {
    try {
      ThreadPool pool(threads);
      FAIL() << threads << " threads were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::invalid_argument);
      EXPECT_NE(std::string(error.what()).find(std::to_string(threads)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace edgelane
