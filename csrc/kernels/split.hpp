// How a step is cut into tasks. Results never depend on it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/thread_pool.hpp"
#include "kernels/border.hpp"

namespace edgelane {

// A task below some 16 thousand elements costs more to hand over than to do, and four tasks for each thread even out threads of
// unequal speed.
inline int64_t wanted_tasks(const ThreadPool& pool, int64_t elements) {
  constexpr int64_t kElementsPerTask = 16384, kTasksPerThread = 4;
  return pool.threads() == 1 ? 1 : std::min(elements / kElementsPerTask, kTasksPerThread * pool.threads());
}

// Calls f(begin, end) on consecutive ranges that cover [0, items), in parallel.
template <class F>
void parallel_ranges(ThreadPool& pool, int64_t items, int64_t elements_per_item, const F& f) noexcept {
  const int64_t tasks = std::min(items, wanted_tasks(pool, items * elements_per_item));
  if (tasks <= 1) {
    if (items > 0) f(int64_t{0}, items);
    return;
  }
  pool.parallel_for(static_cast<int>(tasks), [&](int task, int) { f(items * task / tasks, items * (task + 1) / tasks); });
}

// Calls f(plane, rows) on ranges of rows that cover [0, height) of every plane, in parallel: for a few large planes, such as a
// camera's three channels, which would keep as few threads at work.
template <class F>
void parallel_rows(ThreadPool& pool, int64_t planes, int height, int64_t elements_per_plane, const F& f) noexcept {
  const int64_t wanted = wanted_tasks(pool, planes * elements_per_plane);
  if (planes >= wanted) {
    parallel_ranges(pool, planes, elements_per_plane, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) f(plane, RowRange{0, height});
    });
    return;
  }
  // The same rows of all planes side by side: the next step's tiles are positions, too.
  const auto bands = static_cast<int>(std::min<int64_t>(height, (wanted + planes - 1) / planes));
  pool.parallel_for(static_cast<int>(bands * planes), [&](int task, int) {
    const int64_t band = task / planes;
    const RowRange rows{static_cast<int>(height * band / bands), static_cast<int>(height * (band + 1) / bands)};
    f(task % planes, rows);
  });
}

}  // namespace edgelane
