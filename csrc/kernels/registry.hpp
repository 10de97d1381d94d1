// Every kernel of every family by name: one list for dispatch, for the tests and for the binding.
#pragma once

#include <string>

#include "core/span.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

struct KernelEntry {
  const char* family;
  const char* name;
  Isa isa;
};

// The lines of every family's kernels.inc.
Span<const KernelEntry> all_kernels() noexcept;

// The kernel of `family` that serves `operation` ("max_pool_f32"): options.kernel where it is given, else the one of the
// highest level that options.isa can run. Throws Error(invalid_argument) for a name that the operation does not have and
// Error(unsupported) for one above options.isa.
const KernelEntry& select_kernel(const char* family, const std::string& operation, const KernelOptions& options);

}  // namespace edgelane
