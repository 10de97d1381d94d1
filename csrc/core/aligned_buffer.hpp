// Memory at 64-byte boundaries, owned by one holder, allocated while loading only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "core/pages.hpp"
#include "core/status.hpp"

namespace edgelane {

constexpr size_t kAlignment = 64;  // a cache line, and a vector of the widest instruction set

constexpr size_t align_up(size_t n, size_t to = kAlignment) { return (n + to - 1) / to * to; }

struct Uninitialized {};
constexpr Uninitialized kUninitialized;

// `count` elements of a trivial type, zeroed unless the caller will write them all.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t count) : AlignedBuffer(count, kUninitialized) {
    if (count != 0 && !data_.get_deleter().mapped()) __builtin_memset(data(), 0, data_.get_deleter().bytes);
  }
  AlignedBuffer(size_t count, Uninitialized) : size_(count) {
    if (count == 0) return;
    constexpr size_t kMaxBytes = std::numeric_limits<size_t>::max() / 2;  // of an object, and rounding up cannot wrap around
    const bool possible = count <= kMaxBytes / sizeof(T);
    const size_t bytes = align_up(possible ? count * sizeof(T) : kMaxBytes);
    void* p = nullptr;
    if (possible) p = bytes < kLargePageBytes ? std::aligned_alloc(kAlignment, bytes) : map_pages(bytes);
    if (p == nullptr) throw Error(StatusCode::out_of_memory, "cannot allocate " + std::to_string(bytes) + " bytes");
    data_ = {static_cast<T*>(p), Free{bytes}};
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  struct Free {
    size_t bytes = 0;  // rounded up
    bool mapped() const { return bytes >= kLargePageBytes; }
    void operator()(T* p) const {
      if (mapped())
        unmap_pages(p, bytes);
      else
        std::free(p);
    }
  };
  std::unique_ptr<T[], Free> data_;
  size_t size_ = 0;
};

}  // namespace edgelane
