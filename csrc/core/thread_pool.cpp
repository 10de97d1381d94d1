// A job's tasks are dealt out in one range for each thread, and claimed by counting what is left of a range down. The caller
// works too and waits only for tasks that a worker has claimed: a worker that sleeps or was descheduled never holds a job up.
#include "core/thread_pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "core/cores.hpp"
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

// Which pool and worker this thread works for, so that a task may call run() on its own pool.
thread_local const void* current_pool = nullptr;
thread_local int current_worker = 0;

// How many forks lie between the first process and this one. A child of fork() has the memory of its parent's crews and none of
// their workers, so that a crew whose count is out of date must neither be waited for nor asked for what its workers may hold.
std::atomic<int> forks{0};

// Held while crews are looked up, made and enlarged, and across fork(), so that a child finds it free. Never destroyed: sessions
// may be freed while the process ends.
std::mutex& registry_mutex() {
  static std::mutex* const mutex = new std::mutex;
  return *mutex;
}

void handle_forks() {
  static const int failed = ::pthread_atfork([] { registry_mutex().lock(); }, [] { registry_mutex().unlock(); },
                                             [] {
                                               forks.fetch_add(1, std::memory_order_relaxed);
                                               registry_mutex().unlock();
                                             });
  if (failed != 0) throw Error(StatusCode::out_of_memory, "cannot register the pool's handler of fork");
}

void pin(std::thread& thread, int core) {
#if defined(__linux__)
  const size_t bytes = CPU_ALLOC_SIZE(core + 1);
  cpu_set_t* set = CPU_ALLOC(core + 1);
  if (set == nullptr) throw Error(StatusCode::out_of_memory, "cannot allocate a set of CPUs");
  CPU_ZERO_S(bytes, set);
  CPU_SET_S(core, bytes, set);
  const int error = ::pthread_setaffinity_np(thread.native_handle(), bytes, set);
  CPU_FREE(set);
  if (error != 0) {
    throw Error(StatusCode::invalid_argument, "cannot pin a thread to CPU " + std::to_string(core) + ": " + std::strerror(error));
  }
#else
  static_cast<void>(thread);
  throw Error(StatusCode::unsupported, "cannot pin a thread to CPU " + std::to_string(core) + " on this system");
#endif
}

}  // namespace

class ThreadPool::Crew {
 public:
  // The crew for these cores, with at least `threads - 1` workers.
  static std::shared_ptr<Crew> of(int threads, const std::vector<int>& cores) {
    // Pinned or not, and the CPUs in either case: workers that inherit different masks are no substitute for each other.
    using Key = std::pair<bool, std::vector<int>>;
    static auto* const crews = new std::map<Key, std::weak_ptr<Crew>>;
    const Key key(!cores.empty(), cores.empty() ? allowed_cores() : cores);
    const std::lock_guard<std::mutex> lock(registry_mutex());
    for (auto i = crews->begin(); i != crews->end();) i = i->second.expired() ? crews->erase(i) : std::next(i);
    std::weak_ptr<Crew>& entry = (*crews)[key];
    std::shared_ptr<Crew> crew = entry.lock();
    if (crew == nullptr || !crew->has_workers()) {
      crew = std::shared_ptr<Crew>(new Crew, &Crew::retire);
      entry = crew;
    }
    crew->enlarge(threads, cores);
    return crew;
  }

  // Runs the job with this crew; false where it works for another pool, or lies behind a fork.
  bool run(const ThreadPool* pool, int tasks, Task task, const void* context) noexcept {
    if (!has_workers() || busy_.exchange(true, std::memory_order_acquire)) return false;
    const int threads = pool->threads_;
    task_ = task;
    context_ = context;
    tasks_ = tasks;
    pool_ = pool;
    done_.store(0, std::memory_order_relaxed);
    for (int member = 0; member < threads; ++member) {
      const auto count = static_cast<uint64_t>(first_task(member + 1, threads) - first_task(member, threads));
      members_[member].left.store(static_cast<uint64_t>(threads) << kThreadsShift | count, std::memory_order_release);
    }
    const uint64_t number = (job_.load(std::memory_order_relaxed) >> kJobShift) + 1;
    job_.store(number << kJobShift | static_cast<uint64_t>(threads));
    wake(threads);
    const void* outer_pool = std::exchange(current_pool, pool);
    const int outer_worker = std::exchange(current_worker, 0);
    work(0, threads);
    current_pool = outer_pool;
    current_worker = outer_worker;
    for (int spins = 0; done_.load(std::memory_order_acquire) != tasks;) {
      if (++spins < kSpinsBeforeYield) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
    busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  static constexpr int kThreadsShift = 32;  // of Member::left
  static constexpr int kJobShift = 16;      // of job_
  static_assert(kMaxThreads < 1 << kJobShift, "the number of threads fits below the number of the job");

  struct alignas(64) Member {
    // Tasks of the member's range that nobody has claimed, below the number of threads of the job: a claim by a worker that the
    // job has no place for would have to compare both.
    std::atomic<uint64_t> left{0};
    std::atomic<bool> asleep{false};
  };

  static uint64_t threads_of(uint64_t job) noexcept { return job & ((uint64_t{1} << kJobShift) - 1); }

  bool has_workers() const noexcept { return forks_before_ == forks.load(std::memory_order_relaxed); }

  int first_task(int member, int threads) const noexcept {
    return static_cast<int>(static_cast<int64_t>(tasks_) * member / threads);
  }

  void wake(int threads) noexcept {
    // job_ has been stored, and now `asleep` is looked at; a worker does it the other way round, so one of the two sees it.
    for (int member = 1; member < threads; ++member) {
      if (!members_[member].asleep.load()) continue;
      // Taking the mutex waits for a worker that has said so but does not sleep yet; it would miss the notification.
      {
        std::lock_guard<std::mutex> lock(mutex_);
      }
      wake_.notify_all();
      return;
    }
  }

  // Runs tasks, the worker's own first, until none is left to claim. Says only then how many, since each time it does takes a
  // line that all workers write.
  void work(int worker, int threads) noexcept {
    int returned = 0;
    for (int i = 0; i < threads; ++i) {
      const int member = worker + i < threads ? worker + i : worker + i - threads;
      std::atomic<uint64_t>& left = members_[member].left;
      uint64_t seen = left.load(std::memory_order_acquire);
      while (seen >> kThreadsShift == static_cast<uint64_t>(threads) && static_cast<uint32_t>(seen) != 0) {
        if (!left.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
        // The job's fields are read after the claim only. They cannot change in between: the caller does not return from run()
        // before every claimed task is done.
        current_pool = pool_;
        task_(context_, first_task(member + 1, threads) - static_cast<int>(static_cast<uint32_t>(seen)), worker);
        ++returned;
        seen = left.load(std::memory_order_acquire);
      }
    }
    if (returned != 0) done_.fetch_add(returned, std::memory_order_release);
  }

  void worker_loop(int worker) {
    current_worker = worker;
    started_.fetch_add(1, std::memory_order_release);
    uint64_t seen = 0, now = 0;
    const auto called = [&] {  // to a job that has a place for this worker
      now = job_.load();
      return now != seen && threads_of(now) > static_cast<uint64_t>(worker);
    };
    for (;;) {
      for (int spins = 0; !called() && spins < kSpinsBeforeSleep; ++spins) pause();
      if (!called()) {
        std::unique_lock<std::mutex> lock(mutex_);
        members_[worker].asleep.store(true);
        wake_.wait(lock, [&] { return called() || stop_; });
        members_[worker].asleep.store(false);
        if (stop_) return;
      }
      seen = now;
      work(worker, static_cast<int>(threads_of(now)));
    }
  }

  void enlarge(int threads, const std::vector<int>& cores) {
    try {
      workers_.reserve(static_cast<size_t>(threads) - 1);
      for (int i = static_cast<int>(workers_.size()) + 1; i < threads; ++i) {
        workers_.emplace_back([this, i] { worker_loop(i); });
        if (!cores.empty()) pin(workers_.back(), cores[static_cast<size_t>(i)]);
      }
    } catch (const std::system_error& error) {
      throw Error(StatusCode::out_of_memory, "cannot start " + std::to_string(threads) + " threads: " + error.code().message());
    }
    // What a new thread allocates for itself belongs to loading and not to the first run.
    while (started_.load(std::memory_order_acquire) < static_cast<int>(workers_.size())) std::this_thread::yield();
  }

  static void retire(Crew* crew) {
    if (!crew->has_workers())
      return;  // there is nobody to join, and the condition variable would wait for sleepers that do not exist
    {
      std::lock_guard<std::mutex> lock(crew->mutex_);
      crew->stop_ = true;
    }
    crew->wake_.notify_all();
    for (std::thread& worker : crew->workers_) worker.join();
    delete crew;
  }

  // Written by the caller before the ranges, read by a worker after it has claimed a task.
  Task task_ = nullptr;
  const void* context_ = nullptr;
  const ThreadPool* pool_ = nullptr;
  int tasks_ = 0;

  alignas(64) std::atomic<uint64_t> job_{0};  // number of the job, above the number of its threads
  alignas(64) std::atomic<int> done_{0};      // tasks that have returned
  std::atomic<bool> busy_{false};
  std::atomic<int> started_{0};
  bool stop_ = false;  // under mutex_, as is falling asleep
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;  // under the registry's mutex
  const int forks_before_ = forks.load(std::memory_order_relaxed);
  Member members_[kMaxThreads];
};

ThreadPool::ThreadPool(int threads, const std::vector<int>& cores) : threads_(threads) {
  if (threads < 1 || threads > kMaxThreads) {
    throw Error(StatusCode::invalid_argument,
                "threads must be between 1 and " + std::to_string(kMaxThreads) + ", found " + std::to_string(threads));
  }
  check_cores(cores, threads);
  if (threads == 1) return;
  handle_forks();
  crew_ = Crew::of(threads, cores);
}

ThreadPool::~ThreadPool() = default;

void ThreadPool::run(int tasks, Task task, const void* context) noexcept {
  const bool nested = current_pool == this;
  if (tasks > 1 && !nested && crew_ != nullptr && crew_->run(this, tasks, task, context)) return;
  const int worker = nested ? current_worker : 0;
  for (int i = 0; i < tasks; ++i) task(context, i, worker);
}

}  // namespace edgelane
