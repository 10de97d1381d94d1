#include "runtime/memory_plan.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "core/aligned_buffer.hpp"
#include "runtime/message.hpp"

namespace edgelane {
namespace {

// Where a request lies: `at` bytes from the beginning of a buffer.
struct Place {
  size_t buffer, at;
};

// The requests as buffers to place: those that are linked to each other are one, which lives from the first of them to the last.
std::vector<BufferRequest> join_linked(Span<const BufferRequest> requests, std::vector<Place>& places) {
  struct Link {
    size_t to;
    int64_t distance;
  };
  std::vector<std::vector<Link>> links(requests.size());
  const auto link = [&](size_t request, int other, size_t at) {
    if (other < 0) return;
    links[request].push_back({static_cast<size_t>(other), -static_cast<int64_t>(at)});
    links[static_cast<size_t>(other)].push_back({request, static_cast<int64_t>(at)});
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    link(i, requests[i].replaces, 0);
    link(i, requests[i].inside, requests[i].at);
  }
  std::vector<size_t> by_time(requests.size());
  std::iota(by_time.begin(), by_time.end(), size_t{0});
  std::stable_sort(by_time.begin(), by_time.end(), [&](size_t a, size_t b) { return requests[a].first < requests[b].first; });
  std::vector<BufferRequest> buffers;
  std::vector<bool> seen(requests.size());
  places.resize(requests.size());
  for (const size_t start : by_time) {
    if (seen[start]) continue;
    std::vector<std::pair<size_t, int64_t>> members = {{start, 0}};
    seen[start] = true;
    int64_t lowest = 0;
    for (size_t m = 0; m < members.size(); ++m) {
      const auto [request, position] = members[m];
      lowest = std::min(lowest, position);
      for (const Link& l : links[request]) {
        if (seen[l.to]) continue;
        seen[l.to] = true;
        members.emplace_back(l.to, position + l.distance);
      }
    }
    BufferRequest buffer{"", 0, requests[start].first, requests[start].last};
    for (const auto& [request, position] : members) {
      const BufferRequest& r = requests[request];
      places[request] = {buffers.size(), static_cast<size_t>(position - lowest)};
      buffer.bytes = std::max(buffer.bytes, places[request].at + r.bytes);
      buffer.first = std::min(buffer.first, r.first);
      buffer.last = std::max(buffer.last, r.last);
    }
    buffers.push_back(buffer);
  }
  return buffers;
}

bool live_together(const BufferRequest& a, const BufferRequest& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

MemoryPlan plan_memory(Span<const BufferRequest> all) {
  std::vector<Place> places;
  const std::vector<BufferRequest> requests = join_linked(all, places);
  MemoryPlan plan;
  plan.offsets.resize(requests.size());
  std::vector<size_t> by_size(requests.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });

  std::vector<size_t> placed;  // ordered by offset
  for (const size_t i : by_size) {
    const size_t bytes = align_up(requests[i].bytes);
    size_t best = std::numeric_limits<size_t>::max(), best_gap = best, end = 0;
    for (const size_t other : placed) {
      if (!live_together(requests[i], requests[other])) continue;
      const size_t offset = plan.offsets[other];
      if (offset > end && offset - end >= bytes && offset - end < best_gap) {
        best = end;
        best_gap = offset - end;
      }
      end = std::max(end, offset + align_up(requests[other].bytes));
    }
    const size_t offset = best_gap == std::numeric_limits<size_t>::max() ? end : best;
    plan.offsets[i] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](size_t value, size_t other) { return value < plan.offsets[other]; }),
                  i);
  }
  std::vector<size_t> offsets;
  for (const Place& place : places) offsets.push_back(plan.offsets[place.buffer] + place.at);
  plan.offsets = std::move(offsets);
  return plan;
}

std::string verify_memory_plan(Span<const BufferRequest> requests, const MemoryPlan& plan) {
  if (plan.offsets.size() != requests.size()) {
    return message("expected ", requests.size(), " offsets, found ", plan.offsets.size());
  }
  // Walk through time with the set of live byte ranges. Ranges in the set are disjoint, so a new one can only collide with the
  // nearest below it or above it.
  struct Event {
    int time;
    bool ends;  // a buffer that ends at t still lives at t, so ends of t come after beginnings of t
    size_t buffer;
  };
  std::vector<Event> events;
  for (size_t i = 0; i < requests.size(); ++i) {
    const BufferRequest& r = requests[i];
    if (r.first > r.last) return message(quoted(r.name), ": expected to live from ", r.first, " on, found its end at ", r.last);
    if (plan.offsets[i] % kAlignment != 0)
      return message(quoted(r.name), ": expected a multiple of 64, found offset ", plan.offsets[i]);
    if (plan.offsets[i] > plan.arena_bytes || r.bytes > plan.arena_bytes - plan.offsets[i]) {
      return message(quoted(r.name), ": expected to end within ", plan.arena_bytes, " bytes, found ", r.bytes, " bytes at ",
                     plan.offsets[i]);
    }
    if (r.bytes == 0) continue;
    events.push_back({r.first, false, i});
    events.push_back({r.last, true, i});
  }
  std::sort(events.begin(), events.end(),
            [](const Event& a, const Event& b) { return a.time != b.time ? a.time < b.time : a.ends < b.ends; });
  std::map<size_t, size_t> live;  // offset to buffer
  for (const Event& event : events) {
    const size_t begin = plan.offsets[event.buffer], end = begin + requests[event.buffer].bytes;
    const auto found = live.find(begin);
    if (event.ends) {
      if (found != live.end() && found->second == event.buffer) live.erase(found);  // else another one has taken over
      continue;
    }
    if (const int replaced = requests[event.buffer].replaces; replaced >= 0) {
      const BufferRequest& before = requests[static_cast<size_t>(replaced)];
      if (found == live.end() || found->second != static_cast<size_t>(replaced) || before.last != event.time ||
          before.bytes < requests[event.buffer].bytes) {
        return message(quoted(requests[event.buffer].name), " at ", begin, " to ", end, " cannot take over from ",
                       quoted(before.name), " at time ", event.time);
      }
      found->second = event.buffer;
      continue;
    }
    // Parts that end now, where they belong, become this one.
    for (auto part = live.lower_bound(begin); part != live.end() && part->first < end;) {
      const BufferRequest& r = requests[part->second];
      const bool joins = r.inside == static_cast<int>(event.buffer) && r.last == event.time && part->first == begin + r.at &&
                         r.bytes <= end - part->first;
      part = joins ? live.erase(part) : std::next(part);
    }
    const auto above = live.lower_bound(begin);
    const auto overlap = [&](size_t other) {
      return message(quoted(requests[event.buffer].name), " at ", begin, " to ", end, " overlaps ", quoted(requests[other].name),
                     " at time ", event.time);
    };
    if (above != live.end() && above->first < end) return overlap(above->second);
    if (above != live.begin()) {
      const auto below = std::prev(above);
      if (below->first + requests[below->second].bytes > begin) return overlap(below->second);
    }
    live.emplace(begin, event.buffer);
  }
  return "";
}

}  // namespace edgelane
