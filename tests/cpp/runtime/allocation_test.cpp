// run() allocates nothing: every way to the heap is counted while it runs.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "runtime/every_op.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define EDGELANE_TEST_SANITIZED 1
#endif

namespace {

std::atomic<long> allocations{0};

}  // namespace

#ifdef EDGELANE_TEST_SANITIZED

// The sanitizer owns the heap and reports each allocation.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, size_t),
                                                         void (*free_hook)(const volatile void*));
namespace {
const int kHooks = __sanitizer_install_malloc_and_free_hooks([](const volatile void*, size_t) { allocations.fetch_add(1); },
                                                             [](const volatile void*) {});
}  // namespace

#else

// glibc's own functions, under the names by which it lets a program replace them; operator new calls malloc.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* p, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
void* realloc(void* p, size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(p, size);
}
void* memalign(size_t alignment, size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** p, size_t alignment, size_t size) {
  *p = memalign(alignment, size);
  return *p == nullptr ? ENOMEM : 0;
}
}

#endif

namespace edgelane {
namespace {

TEST(Allocation, TheCounterCounts) {
  const long before = allocations.load();
  const auto buffer = std::make_unique<AlignedBuffer<uint8_t>>(100);
  std::vector<int> v(100);
  EXPECT_EQ(v.size(), buffer->size());
  EXPECT_GE(allocations.load() - before, 3);
}

TEST(Allocation, RunAllocatesNothing) {
  for (const int threads : {1, 2}) {
    for (const Isa isa : available_isas()) {
      testing::RunnableSession s(testing::load(testing::every_op_writer(), threads, isa_name(isa)));
      for (int i = 0; i < 3; ++i) {  // from the first run on
        const long before = allocations.load();
        const StatusCode status = s.run();
        const long during = allocations.load() - before;
        EXPECT_EQ(status, StatusCode::ok);
        EXPECT_EQ(during, 0) << threads << " threads, " << isa_name(isa) << ", run " << i;
      }
    }
  }
}

}  // namespace
}  // namespace edgelane
