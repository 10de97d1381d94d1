// Choice of a kernel from a family's kernels.inc, by instruction set or by name.
#pragma once

#include <string>
#include <vector>

#include "core/status.hpp"
#include "kernels/kernel.hpp"

// Keeps what belongs to an instruction set that this build has: EDGELANE_FOR_ISA_<isa>(text).
#define EDGELANE_FOR_ISA_scalar(...) __VA_ARGS__
#if defined(__x86_64__)
#define EDGELANE_FOR_ISA_avx2(...) __VA_ARGS__
#define EDGELANE_FOR_ISA_avx512(...) __VA_ARGS__
#define EDGELANE_FOR_ISA_avx512_vnni(...) __VA_ARGS__
#else
#define EDGELANE_FOR_ISA_avx2(...)
#define EDGELANE_FOR_ISA_avx512(...)
#define EDGELANE_FOR_ISA_avx512_vnni(...)
#endif
#define EDGELANE_COMMA ,

namespace edgelane {

template <class Kernel>
struct ListedKernel {
  const char* family;
  const Kernel* kernel;
};

// Kernels of `family` to choose from: the forced one, or all of the best instruction set up to options.isa that has any.
// Throws Error(invalid_argument) for a name that the family does not have there.
template <class Kernel>
std::vector<const Kernel*> kernel_candidates(const std::vector<ListedKernel<Kernel>>& list, const std::string& family,
                                             const KernelOptions& options) {
  std::vector<const Kernel*> found;
  std::string known;
  for (const ListedKernel<Kernel>& l : list) {
    if (l.family != family || l.kernel->isa > options.isa) continue;
    known += (known.empty() ? "" : ", ") + std::string(l.kernel->name);
    if (!options.kernel.empty()) {
      if (options.kernel == l.kernel->name) return {l.kernel};
      continue;
    }
    if (!found.empty() && found.front()->isa < l.kernel->isa) found.clear();
    if (found.empty() || found.front()->isa == l.kernel->isa) found.push_back(l.kernel);
  }
  if (found.empty())
    throw Error(StatusCode::invalid_argument, "unknown kernel '" + options.kernel + "' of " + family + " for " +
                                                  isa_name(options.isa) + "; known are " + known);
  return found;
}

}  // namespace edgelane
