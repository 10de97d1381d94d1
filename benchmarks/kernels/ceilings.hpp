// What this machine can do at best, measured: multiply-adds, reads from each level of memory, and a barrier of the thread pool.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/cpu_features.hpp"

namespace edgelane::bench {

struct Peak {
  std::string isa;  // as isa_name, or another instruction that the CPU has
  bool int8;
  double macs_per_s;  // of one core
};

struct Level {
  std::string name;  // "L1", "L2", "L3", "memory"
  size_t size;       // bytes; of memory: 0
  double bytes_per_s;
};

struct Barrier {
  int threads;
  double seconds;  // of ThreadPool::run with one empty task for each thread
};

struct Ceilings {
  std::vector<Peak> peaks;
  std::vector<Level> levels;
  std::vector<Barrier> barriers;

  // The most multiply-adds per second that a kernel of this level can do; 0 where no instruction of it was measured.
  double peak(const std::string& isa, bool int8) const;
  // The fastest of all.
  double peak(bool int8) const;
  // The innermost level that holds `bytes`.
  const Level& level_for(size_t bytes) const;
  // The least time to read `bytes` again and again: what fits into a level comes from there, the rest from further out.
  double reading_seconds(size_t bytes) const;
};

Ceilings measure_ceilings();

}  // namespace edgelane::bench
