// Places buffers that live at different times in one arena, so that most of them share memory.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/span.hpp"

namespace edgelane {

// A buffer that must keep its bytes from time `first` to time `last`, both included.
struct BufferRequest {
  std::string name;
  size_t bytes = 0;
  int first = 0, last = 0;
  // The request whose memory this one takes over, from the same offset on, at the time at which that one ends: a step that works
  // in place. -1: none. One request takes over another at most once, and is not larger.
  int replaces = -1;
  // The request that this one becomes a part of, `at` bytes (a multiple of 64) from its beginning on, at the time at which this
  // one ends and that one begins: an input of a concatenation. -1: none.
  int inside = -1;
  size_t at = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one for each request, multiples of 64
  size_t arena_bytes = 0;
};

// Greedy by size: the largest buffer first, each into the smallest gap between those that live at the same time. Requests that
// take over from each other, or become parts of one, are one buffer.
MemoryPlan plan_memory(Span<const BufferRequest> requests);

// Checks a plan without sharing code with plan_memory: alignment, bounds, and at every time no two buffers on the same byte but
// for one that takes over another's, or its parts', at that time.
// Returns what is wrong, or an empty string.
std::string verify_memory_plan(Span<const BufferRequest> requests, const MemoryPlan& plan);

}  // namespace edgelane
