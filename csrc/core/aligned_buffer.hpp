// Memory at 64-byte boundaries, owned by one holder, allocated while loading only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "core/status.hpp"

namespace edgelane {

constexpr size_t kAlignment = 64;  // a cache line, and a vector of the widest instruction set

constexpr size_t align_up(size_t n, size_t to = kAlignment) { return (n + to - 1) / to * to; }

// `count` elements of a trivial type, zeroed.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t count) : size_(count) {
    if (count == 0) return;
    constexpr size_t kMaxBytes = std::numeric_limits<size_t>::max() / 2;  // of an object, and rounding up cannot wrap around
    const bool possible = count <= kMaxBytes / sizeof(T);
    const size_t bytes = align_up(possible ? count * sizeof(T) : kMaxBytes);
    void* p = possible ? std::aligned_alloc(kAlignment, bytes) : nullptr;
    if (p == nullptr) throw Error(StatusCode::out_of_memory, "cannot allocate " + std::to_string(bytes) + " bytes");
    data_.reset(static_cast<T*>(p));
    __builtin_memset(p, 0, bytes);
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], Free> data_;
  size_t size_ = 0;
};

}  // namespace edgelane
