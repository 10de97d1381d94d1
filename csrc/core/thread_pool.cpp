// Tasks are claimed by counting `remaining` down, so whoever is awake takes the next one. The caller works too and waits only for
// tasks that a worker has claimed: a worker that sleeps or was descheduled never holds a job up.
#include "core/thread_pool.hpp"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "core/status.hpp"

namespace edgelane {
namespace {

constexpr int kMaxThreads = 1024;

// About 50 µs of pauses: longer than the gap between two steps of a network, shorter than anyone notices on an idle core.
constexpr int kSpinsBeforeSleep = 2000;
// A claimed task normally ends within a few µs of the caller's own last one; after this many pauses its thread must have been
// descheduled, and on a full machine it needs this core to go on.
constexpr int kSpinsBeforeYield = 4000;

inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Which pool and worker this thread is, so that a task may call run() on its own pool.
thread_local const void* current_pool = nullptr;
thread_local int current_worker = 0;

// How many forks lie between the first process and this one. A child of fork() has the memory of its parent's pools and none of
// their workers, so that a pool whose count is out of date must neither wait for its workers nor use what they may hold.
std::atomic<int> forks{0};

void count_forks() {
  static const int failed = ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  if (failed != 0) throw Error(StatusCode::out_of_memory, "cannot register the pool's handler of fork");
}

}  // namespace

struct ThreadPool::State {
  // Written by the caller before `remaining`, read by a worker after it has claimed a task. They cannot change in between: the
  // caller does not return from run() before every claimed task is done.
  Task task = nullptr;
  const void* context = nullptr;
  int tasks = 0;

  alignas(64) std::atomic<int> remaining{0};  // tasks nobody has claimed yet
  alignas(64) std::atomic<int> done{0};       // tasks that have returned
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::atomic<int> started{0};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  const int forks_before = forks.load(std::memory_order_relaxed);

  bool has_workers() const noexcept { return !workers.empty() && forks_before == forks.load(std::memory_order_relaxed); }

  // Runs tasks until none is left to claim.
  void work(int worker) noexcept {
    int left = remaining.load(std::memory_order_acquire);
    while (left > 0) {
      if (!remaining.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      task(context, tasks - left, worker);
      done.fetch_add(1, std::memory_order_release);
      left = remaining.load(std::memory_order_acquire);
    }
  }

  void worker_loop(int worker) {
    current_pool = this;
    current_worker = worker;
    started.fetch_add(1, std::memory_order_release);
    for (;;) {
      int spins = 0;
      while (remaining.load(std::memory_order_acquire) == 0 && spins < kSpinsBeforeSleep) {
        pause();
        ++spins;
      }
      if (spins == kSpinsBeforeSleep) {
        std::unique_lock<std::mutex> lock(mutex);
        // The caller stores `remaining` and then looks at `sleepers`; here it is the other way round, so one of the two sees it.
        sleepers.fetch_add(1);
        wake.wait(lock, [this] { return remaining.load() > 0 || stop.load(); });
        sleepers.fetch_sub(1);
      }
      if (stop.load(std::memory_order_relaxed)) return;
      work(worker);
    }
  }

  void shut_down() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stop.store(true);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads < 1 || threads > kMaxThreads) {
    throw Error(StatusCode::invalid_argument,
                "threads must be between 1 and " + std::to_string(kMaxThreads) + ", found " + std::to_string(threads));
  }
  count_forks();
  State* state = state_.get();
  state->workers.reserve(static_cast<size_t>(threads) - 1);
  try {
    for (int i = 1; i < threads; ++i) state->workers.emplace_back([state, i] { state->worker_loop(i); });
  } catch (const std::system_error& error) {
    state->shut_down();
    throw Error(StatusCode::out_of_memory, "cannot start " + std::to_string(threads) + " threads: " + error.code().message());
  } catch (...) {
    state->shut_down();
    throw;
  }
  // What a new thread allocates for itself belongs to loading and not to the first run.
  while (state->started.load(std::memory_order_acquire) < threads - 1) std::this_thread::yield();
}

ThreadPool::~ThreadPool() {
  if (state_->workers.empty()) return;
  if (state_->has_workers()) {
    state_->shut_down();
  } else {  // there is nobody to join, and the condition variable would wait for sleepers that do not exist
    static_cast<void>(state_.release());
  }
}

int ThreadPool::threads() const noexcept { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run(int tasks, Task task, const void* context) noexcept {
  State& state = *state_;
  const bool nested = current_pool == &state;
  if (tasks <= 1 || nested || !state.has_workers()) {
    const int worker = nested ? current_worker : 0;
    for (int i = 0; i < tasks; ++i) task(context, i, worker);
    return;
  }
  state.task = task;
  state.context = context;
  state.tasks = tasks;
  state.done.store(0, std::memory_order_relaxed);
  state.remaining.store(tasks);
  if (state.sleepers.load() > 0) {
    // Taking the mutex waits for a worker that has counted itself but does not sleep yet; it would miss the notification.
    {
      std::lock_guard<std::mutex> lock(state.mutex);
    }
    state.wake.notify_all();
  }
  const void* outer_pool = current_pool;
  const int outer_worker = current_worker;
  current_pool = &state;
  current_worker = 0;
  state.work(0);
  current_pool = outer_pool;
  current_worker = outer_worker;
  for (int spins = 0; state.done.load(std::memory_order_acquire) != tasks;) {
    if (++spins < kSpinsBeforeYield) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace edgelane
