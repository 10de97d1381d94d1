// The shortest of many runs: on a shared machine the mean says more about the neighbours.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace edgelane::bench {

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds of the shortest run of f, of at least `runs` and for at least `seconds`, after one that is not counted.
template <class F>
double shortest(const F& f, double seconds, int runs = 5) {
  f();
  double best = std::numeric_limits<double>::max();
  const double end = now() + seconds;
  for (int i = 0; i < runs || now() < end; ++i) {
    const double start = now();
    f();
    best = std::min(best, now() - start);
  }
  return best;
}

// Keeps a value, and so what computed it, alive.
template <class T>
void use(T& value) {
  asm volatile("" : "+m"(value) : : "memory");
}

}  // namespace edgelane::bench
