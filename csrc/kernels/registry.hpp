// Every kernel of every family by name: one list for dispatch, for the tests and for the binding.
#pragma once

#include <string>
#include <vector>

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

// Kernels of `family` that serve `operation` ("max_pool_f32") to choose from: options.kernel where it is given, else all of the
// highest level that options.isa includes. Never empty: throws Error(invalid_argument) for a name that the operation does not
// have and Error(unsupported) for one that options.isa does not include.
std::vector<const KernelEntry*> kernel_candidates(const char* family, const std::string& operation, const KernelOptions& options);

// The first of them, for operations with one kernel per instruction set.
const KernelEntry& select_kernel(const char* family, const std::string& operation, const KernelOptions& options);

}  // namespace edgelane
