#include "core/thread_pool.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "core/cores.hpp"
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

// Names of the threads that took part in a job whose tasks wait for each other, so that each thread gets one.
std::vector<std::thread::id> members(ThreadPool& pool) {
  std::vector<std::thread::id> ids(static_cast<size_t>(pool.threads()));
  std::atomic<int> arrived{0};
  pool.parallel_for(pool.threads(), [&](int, int worker) {
    ids[static_cast<size_t>(worker)] = std::this_thread::get_id();
    arrived.fetch_add(1);
    while (arrived.load() < pool.threads()) std::this_thread::yield();
  });
  return ids;
}

TEST(ThreadPoolTest, PoolsShareTheirWorkers) {
  ThreadPool two(2), other_two(2), four(4);
  const std::vector<std::thread::id> ids = members(four);
  EXPECT_EQ(std::set<std::thread::id>(ids.begin(), ids.end()).size(), 4u);
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  for (ThreadPool* pool : {&two, &other_two})
    EXPECT_EQ(members(*pool), std::vector<std::thread::id>(ids.begin(), ids.begin() + 2));
}

TEST(ThreadPoolTest, APoolWhoseWorkersAreBusyRunsOnItsCaller) {
  ThreadPool busy(2), other(2);
  std::atomic<bool> release{false};
  std::atomic<int> working{0};
  std::thread caller([&] {
    busy.parallel_for(2, [&](int, int) {
      working.fetch_add(1);
      while (!release.load()) std::this_thread::yield();
    });
  });
  while (working.load() < 2) std::this_thread::yield();
  std::vector<int> workers(64, -1);
  std::vector<std::thread::id> ids(64);
  other.parallel_for(64, [&](int task, int worker) {
    workers[static_cast<size_t>(task)] = worker;
    ids[static_cast<size_t>(task)] = std::this_thread::get_id();
  });
  EXPECT_EQ(workers, std::vector<int>(64, 0));
  EXPECT_EQ(ids, std::vector<std::thread::id>(64, std::this_thread::get_id()));
  release = true;
  caller.join();
  EXPECT_EQ(members(other).size(), 2u) << "afterwards it has them again";
}

TEST(ThreadPoolTest, PoolsInSeveralThreadsAtOnce) {
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 20; ++round) {  // pools come and go while others work
        ThreadPool pool(2 + caller % 3);
        for (int job = 0; job < 100; ++job) {
          std::vector<std::atomic<int>> count(37);
          pool.parallel_for(37, [&](int task, int worker) {
            count[static_cast<size_t>(task)].fetch_add(1);
            if (worker >= pool.threads()) wrong.fetch_add(1);
          });
          for (const auto& c : count) wrong.fetch_add(c.load() != 1);
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong.load(), 0);
}

// Each worker begins with its own part of the tasks and takes them in order; a slow start of the other one cannot be told from
// help, so the part is looked at where both are known to work.
TEST(ThreadPoolTest, AWorkerBeginsWithItsOwnPart) {
  ThreadPool pool(2);
  std::vector<int> first(2, -1);
  std::atomic<int> arrived{0};
  pool.parallel_for(10, [&](int task, int worker) {
    if (first[static_cast<size_t>(worker)] >= 0) return;
    first[static_cast<size_t>(worker)] = task;
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(first, (std::vector<int>{0, 5}));
}

#if defined(__linux__)
TEST(ThreadPoolTest, WorkersStayOnTheirCores) {
  std::vector<int> cores = allowed_cores();
  if (cores.size() < 2) GTEST_SKIP() << "one CPU";
  cores.resize(2);
  const std::vector<int> backwards(cores.rbegin(), cores.rend());
  for (const std::vector<int>& order : {cores, backwards}) {
    ThreadPool pool(2, order);
    std::vector<std::vector<int>> masks(2);
    std::atomic<int> arrived{0};
    const std::vector<int> before = allowed_cores();
    pool.parallel_for(2, [&](int, int worker) {
      masks[static_cast<size_t>(worker)] = allowed_cores();
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(masks[1], std::vector<int>{order[1]});
    EXPECT_EQ(masks[0], before) << "the caller is never pinned";
  }
  EXPECT_THROW(ThreadPool(3, cores), Error);
}
#endif

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
