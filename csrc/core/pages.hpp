// Memory straight from the operating system, in pages.
#pragma once

#include <cstddef>

namespace edgelane {

constexpr size_t kLargePageBytes = size_t{2} << 20;

// `bytes` zeros (at least 1) from a multiple of kLargePageBytes on, in large pages where the system has some: fewer faults while
// they are filled, fewer misses of the address cache while they are read. nullptr where there is no memory.
void* map_pages(size_t bytes) noexcept;
void unmap_pages(void* data, size_t bytes) noexcept;  // what map_pages returned, and for how many bytes

// Gives the whole pages within [data, data + bytes) back to the system; the caller has no more use for any byte of the range,
// which may read as zero afterwards. Does nothing where the system cannot (locked memory).
void discard_pages(void* data, size_t bytes) noexcept;

}  // namespace edgelane
