#include "core/cores.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "core/status.hpp"

namespace edgelane {
namespace {

constexpr int kMaxCores = 8192;  // the most that a Linux kernel can be built for

#if defined(__linux__)
// The mask of one thread; 0 is the calling one.
std::vector<int> cores_of(pid_t thread) {
  std::vector<int> cores;
  cpu_set_t* set = CPU_ALLOC(kMaxCores);
  if (set == nullptr) return cores;
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCores);
  CPU_ZERO_S(bytes, set);
  if (::sched_getaffinity(thread, bytes, set) == 0) {
    for (int core = 0; core < kMaxCores; ++core)
      if (CPU_ISSET_S(core, bytes, set)) cores.push_back(core);
  }
  CPU_FREE(set);
  return cores;
}
#else
std::vector<int> cores_of(int) { return {}; }
#endif

// A number at text[at] on, and `at` moved behind it; -1 where there is none.
int read_number(const std::string& text, size_t& at) {
  int number = -1;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    number = std::max(number, 0) * 10 + (text[at] - '0');
    if (number >= kMaxCores) return -1;
  }
  return number;
}

bool contains(const std::vector<int>& cores, int core) { return std::find(cores.begin(), cores.end(), core) != cores.end(); }

}  // namespace

std::vector<int> allowed_cores() { return cores_of(0); }

std::string cores_text(const std::vector<int>& cores) {
  std::string text;
  for (size_t i = 0; i < cores.size();) {
    size_t last = i;
    while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(cores[i]);
    if (last > i) text += "-" + std::to_string(cores[last]);
    i = last + 1;
  }
  return text;
}

std::vector<int> select_cores(const std::string& request) {
  std::string wanted = request, from = "cores: ";
  if (wanted.empty()) {
    const char* environment = std::getenv("EDGELANE_CORES");
    if (environment != nullptr) wanted = environment;
    from = "EDGELANE_CORES: ";
  }
  std::vector<int> cores;
  if (wanted.empty()) return cores;
  const auto refuse = [&](const std::string& why) { throw Error(StatusCode::invalid_argument, from + why); };
  for (size_t at = 0; at <= wanted.size(); ++at) {  // past the comma
    const int first = read_number(wanted, at);
    int last = first;
    if (first >= 0 && at < wanted.size() && wanted[at] == '-') last = read_number(wanted, ++at);
    if (first < 0 || last < first || (at < wanted.size() && wanted[at] != ',')) {
      refuse("expected CPU numbers below " + std::to_string(kMaxCores) + " such as 2,3 or 0-3, found '" + wanted + "'");
    }
    for (int core = first; core <= last; ++core) {
      if (contains(cores, core)) refuse("expected each CPU once, found " + std::to_string(core) + " twice in '" + wanted + "'");
      cores.push_back(core);
    }
  }
  // A thread that its owner has pinned to one CPU may load a session for others, so the process's first thread speaks for it,
  // too.
  const std::vector<int> own = allowed_cores(), process = cores_of(::getpid());
  for (const int core : cores) {
    if (!contains(own, core) && !contains(process, core)) {
      refuse("CPU " + std::to_string(core) + " is not available to this process, which may use " + cores_text(process));
    }
  }
  return cores;
}

void check_cores(const std::vector<int>& cores, int threads) {
  if (!cores.empty() && static_cast<int>(cores.size()) < threads) {
    throw Error(StatusCode::invalid_argument,
                "expected a CPU for each of " + std::to_string(threads) + " threads, found cores " + cores_text(cores));
  }
}

}  // namespace edgelane
