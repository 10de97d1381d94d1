// A persistent pool: the caller and `threads - 1` workers run numbered tasks, then meet at a barrier. In a child of fork(), which
// has no workers, the caller runs all tasks itself.
//
// Workers belong to the process, not to a pool. Pools with the same cores (or, where none are given, made by threads that may run
// on the same CPUs) share one crew of workers, as large as the largest of them asks for. A pool that finds the crew at work for
// another one runs its tasks on the calling thread alone: whoever calls at the same time, there are never more workers than one
// pool has, and nobody waits.
#pragma once

#include <memory>
#include <vector>

namespace edgelane {

class ThreadPool {
 public:
  // threads ≥ 1, the caller included. With `cores` (at least `threads`, see select_cores), worker i stays on CPU cores[i];
  // cores[0] is meant for the calling thread, which the pool never pins. Without, the system moves workers among the CPUs of the
  // thread that makes the pool. Workers spin for a short while after each job and then sleep.
  explicit ThreadPool(int threads, const std::vector<int>& cores = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  // Calls task(context, i, worker) for every i in [0, tasks), each once, on worker 0 (the caller) to threads() - 1,
  // and returns when all are done. Allocates nothing. Worker w begins with its own part of the tasks, [tasks * w / threads,
  // tasks * (w + 1) / threads) in order, so that jobs cut in the same way find their data in its cache, and helps others when
  // it is done; who gets which task may vary, and a kernel's result must not. One thread at a time uses a pool.
  using Task = void (*)(const void* context, int task, int worker);
  void run(int tasks, Task task, const void* context) noexcept;

  // The same for a callable `f(int task, int worker)`.
  template <class F>
  void parallel_for(int tasks, const F& f) noexcept {
    run(tasks, [](const void* context, int task, int worker) { (*static_cast<const F*>(context))(task, worker); }, &f);
  }

 private:
  class Crew;
  int threads_;
  std::shared_ptr<Crew> crew_;  // nullptr: one thread
};

}  // namespace edgelane
