// A persistent pool: the caller and `threads - 1` workers run numbered tasks, then meet at a barrier. In a child of fork(), which
// has no workers, the caller runs all tasks itself.
#pragma once

#include <memory>

namespace edgelane {

class ThreadPool {
 public:
  // threads ≥ 1, the caller included. Workers spin for a short while after each job and then sleep.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept;

  // Calls task(context, i, worker) for every i in [0, tasks), each once, on worker 0 (the caller) to threads() - 1,
  // and returns when all are done. Allocates nothing. Which worker gets which task may vary; a kernel's result must not.
  using Task = void (*)(const void* context, int task, int worker);
  void run(int tasks, Task task, const void* context) noexcept;

  // The same for a callable `f(int task, int worker)`.
  template <class F>
  void parallel_for(int tasks, const F& f) noexcept {
    run(tasks, [](const void* context, int task, int worker) { (*static_cast<const F*>(context))(task, worker); }, &f);
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgelane
