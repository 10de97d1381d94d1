#include "core/pages.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <limits>

namespace edgelane {
namespace {

uintptr_t page_bytes() noexcept {
  static const long bytes = ::sysconf(_SC_PAGESIZE);
  return bytes > 0 ? static_cast<uintptr_t>(bytes) : kLargePageBytes;
}

uintptr_t round_down(uintptr_t value, uintptr_t to) { return value / to * to; }
uintptr_t round_up(uintptr_t value, uintptr_t to) { return round_down(value + to - 1, to); }

void unmap(uintptr_t begin, uintptr_t end) noexcept {
  if (begin < end) ::munmap(reinterpret_cast<void*>(begin), end - begin);
}

}  // namespace

void* map_pages(size_t bytes) noexcept {
  if (bytes > std::numeric_limits<size_t>::max() - 2 * kLargePageBytes) return nullptr;
  const size_t used = round_up(bytes, page_bytes()), mapped = used + kLargePageBytes;
  void* p = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(p), first = round_up(begin, kLargePageBytes);
  unmap(begin, first);
  unmap(first + used, begin + mapped);
#if defined(MADV_HUGEPAGE)
  // Whole large pages only: the last one would take memory that nobody asked for.
  static_cast<void>(::madvise(reinterpret_cast<void*>(first), round_down(used, kLargePageBytes), MADV_HUGEPAGE));
#endif
  return reinterpret_cast<void*>(first);
}

void unmap_pages(void* data, size_t bytes) noexcept {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  unmap(begin, begin + round_up(bytes, page_bytes()));
}

void discard_pages(void* data, size_t bytes) noexcept {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = round_up(begin, page_bytes()), last = round_down(begin + bytes, page_bytes());
  if (first < last) static_cast<void>(::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED));
}

}  // namespace edgelane
