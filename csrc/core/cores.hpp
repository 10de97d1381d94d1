// Which CPUs a session's threads may run on, as Linux numbers them.
#pragma once

#include <string>
#include <vector>

namespace edgelane {

// The CPUs that the calling thread may run on, ascending; empty where the system does not say.
std::vector<int> allowed_cores();

// "0-3,6" for {0, 1, 2, 3, 6}.
std::string cores_text(const std::vector<int>& cores);

// The CPUs to pin to: `request`, or the environment variable EDGELANE_CORES where that is empty, as numbers and ranges ("2,3",
// "0-3") in the order in which threads take them; nothing where neither says any. Throws Error(invalid_argument) for a text that
// is no such list, a CPU that stands twice, and one that is not among those of the calling thread and the process's first thread.
std::vector<int> select_cores(const std::string& request);

// Throws Error(invalid_argument) where there are cores, but fewer than threads.
void check_cores(const std::vector<int>& cores, int threads);

}  // namespace edgelane
