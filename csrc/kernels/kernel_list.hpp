// For families whose kernels are objects of one type: which lines of a kernels.inc this build has, and a kernel by its name.
#pragma once

#include <cstring>

#include "core/status.hpp"
#include "kernels/registry.hpp"

// Keeps what belongs to an instruction set that this build has: EDGELANE_IF_BUILT_<isa>(text).
#define EDGELANE_IF_BUILT_scalar(...) __VA_ARGS__
#if defined(__x86_64__)
#define EDGELANE_IF_BUILT_avx2(...) __VA_ARGS__
#define EDGELANE_IF_BUILT_avx512(...) __VA_ARGS__
#define EDGELANE_IF_BUILT_avx512_vnni(...) __VA_ARGS__
#else
#define EDGELANE_IF_BUILT_avx2(...)
#define EDGELANE_IF_BUILT_avx512(...)
#define EDGELANE_IF_BUILT_avx512_vnni(...)
#endif
#if defined(__aarch64__)
#define EDGELANE_IF_BUILT_neon(...) __VA_ARGS__
#define EDGELANE_IF_BUILT_neon_dotprod(...) __VA_ARGS__
#else
#define EDGELANE_IF_BUILT_neon(...)
#define EDGELANE_IF_BUILT_neon_dotprod(...)
#endif
#if defined(__aarch64__) && !defined(EDGELANE_WITHOUT_neon_i8mm)
#define EDGELANE_IF_BUILT_neon_i8mm(...) __VA_ARGS__
#else
#define EDGELANE_IF_BUILT_neon_i8mm(...)
#endif
#if defined(__x86_64__) && !defined(EDGELANE_WITHOUT_avx_vnni)
#define EDGELANE_IF_BUILT_avx_vnni(...) __VA_ARGS__
#else
#define EDGELANE_IF_BUILT_avx_vnni(...)
#endif

namespace edgelane {

// The object behind a line of kernels.inc. Throws Error(unsupported) if this build lacks it.
template <class Kernel, size_t Count>
const Kernel& kernel_of(const Kernel* const (&list)[Count], const KernelEntry& entry) {
  for (const Kernel* kernel : list)
    if (std::strcmp(kernel->name, entry.name) == 0) return *kernel;
  throw Error(StatusCode::unsupported, std::string("kernel ") + entry.name + " is not part of this build");
}

}  // namespace edgelane
