// How a step is cut into tasks. Results never depend on it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/thread_pool.hpp"

namespace edgelane {

// Calls f(begin, end) on consecutive ranges that cover [0, items), in parallel. A task below some 16 thousand elements costs
// more to hand over than to do, and four tasks for each thread even out threads of unequal speed.
template <class F>
void parallel_ranges(ThreadPool& pool, int64_t items, int64_t elements_per_item, const F& f) noexcept {
  constexpr int64_t kElementsPerTask = 16384, kTasksPerThread = 4;
  const int64_t wanted = std::min(items * elements_per_item / kElementsPerTask, kTasksPerThread * pool.threads());
  const int64_t tasks = pool.threads() == 1 ? 1 : std::min(items, wanted);
  if (tasks <= 1) {
    if (items > 0) f(int64_t{0}, items);
    return;
  }
  pool.parallel_for(static_cast<int>(tasks), [&](int task, int) { f(items * task / tasks, items * (task + 1) / tasks); });
}

}  // namespace edgelane
