#include "ceilings.hpp"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/aligned_buffer.hpp"
#include "core/thread_pool.hpp"
#include "timing.hpp"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace edgelane::bench {
namespace {

constexpr int kSteps = 1000;  // of every sum in one timed run
constexpr double kSeconds = 0.05;

// Independent sums, more than latency times throughput of any of these instructions: registers 0 to 11 of 16, or to 23 of 32.
#define EDGELANE_12 "0,1,2,3,4,5,6,7,8,9,10,11"
#define EDGELANE_24 EDGELANE_12 ",12,13,14,15,16,17,18,19,20,21,22,23"
constexpr int sums_of(const char* registers) {
  int count = 1;
  for (; *registers != 0; ++registers) count += *registers == ',';
  return count;
}

// Defines a function of the multiply-adds per second of STEP, assembly that adds to register \\r; ZERO clears register \\r. In
// assembly, because compilers copy sums about, or store them, where the source adds in place.
#define EDGELANE_PEAK(name, target_string, registers, operands, macs_per_step, ZERO, STEP)                                \
  __attribute__((target(target_string))) double name() {                                                                  \
    double best = std::numeric_limits<double>::max();                                                                     \
    for (const double end = now() + kSeconds; now() < end;) {                                                             \
      const double start = now();                                                                                         \
      asm volatile(".irp r," registers "," operands "\n\t" ZERO "\n\t.endr" : : : EDGELANE_CLOBBERS);                     \
      for (int i = 0; i < kSteps; ++i) asm volatile(".irp r," registers "\n\t" STEP "\n\t.endr" : : : EDGELANE_CLOBBERS); \
      best = std::min(best, now() - start);                                                                               \
    }                                                                                                                     \
    return static_cast<double>(kSteps) * sums_of(registers) * (macs_per_step) / best;                                     \
  }

#if defined(__x86_64__)
#define EDGELANE_CLOBBERS                                                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", \
      "xmm15"
EDGELANE_PEAK(f32_sse, "sse2", EDGELANE_12, "14,15", 4, "xorps %%xmm\\r, %%xmm\\r",
              "movaps %%xmm15, %%xmm14\n\tmulps %%xmm15, %%xmm14\n\taddps %%xmm14, %%xmm\\r")
EDGELANE_PEAK(f32_avx2, "avx2,fma", EDGELANE_12, "14,15", 8, "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
              "vfmadd231ps %%ymm15, %%ymm15, %%ymm\\r")
// Without a dot product of bytes: products of 16-bit pairs, added.
EDGELANE_PEAK(s8_avx2, "avx2", EDGELANE_12, "14,15", 16, "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
              "vpmaddwd %%ymm15, %%ymm15, %%ymm14\n\tvpaddd %%ymm14, %%ymm\\r, %%ymm\\r")
EDGELANE_PEAK(s8_avx_vnni, "avxvnni,avx2", EDGELANE_12, "14,15", 32, "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
              "%{vex%} vpdpbusd %%ymm15, %%ymm15, %%ymm\\r")
#undef EDGELANE_CLOBBERS
#define EDGELANE_CLOBBERS                                                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", \
      "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm31"
EDGELANE_PEAK(f32_avx512, "avx512f", EDGELANE_24, "31", 16, "vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
              "vfmadd231ps %%zmm31, %%zmm31, %%zmm\\r")
EDGELANE_PEAK(s8_avx512, "avx512bw", EDGELANE_12, "14,15", 32, "vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
              "vpmaddwd %%zmm15, %%zmm15, %%zmm14\n\tvpaddd %%zmm14, %%zmm\\r, %%zmm\\r")
EDGELANE_PEAK(s8_avx512_vnni, "avx512vnni,avx512f", EDGELANE_24, "31", 64, "vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
              "vpdpbusd %%zmm31, %%zmm31, %%zmm\\r")
#elif defined(__aarch64__)
#define EDGELANE_CLOBBERS                                                                                                    \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", \
      "v19", "v20", "v21", "v22", "v23", "v31"
EDGELANE_PEAK(f32_neon, "+simd", EDGELANE_24, "31", 4, "movi v\\r\\().4s, #0", "fmla v\\r\\().4s, v31.4s, v31.4s")
// Without a dot product: 16-bit products, added in pairs to 32 bits.
EDGELANE_PEAK(s8_neon, "+simd", EDGELANE_12, "14,15", 16, "movi v\\r\\().4s, #0",
              "smull v14.8h, v15.8b, v15.8b\n\tsmlal2 v14.8h, v15.16b, v15.16b\n\tsadalp v\\r\\().4s, v14.8h")
EDGELANE_PEAK(s8_dotprod, "arch=armv8.2-a+dotprod", EDGELANE_24, "31", 16, "movi v\\r\\().4s, #0",
              "sdot v\\r\\().4s, v31.16b, v31.16b")
EDGELANE_PEAK(s8_i8mm, "arch=armv8.2-a+i8mm", EDGELANE_24, "31", 32, "movi v\\r\\().4s, #0",
              "smmla v\\r\\().4s, v31.16b, v31.16b")
#endif

std::vector<Peak> measure_peaks() {
  std::vector<Peak> peaks;
#if defined(__x86_64__)
  __builtin_cpu_init();
  peaks.push_back({"scalar", false, f32_sse()});  // what a compiler makes of plain C++ on any x86-64
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    peaks.push_back({"avx2", false, f32_avx2()});
    peaks.push_back({"avx2", true, s8_avx2()});
  }
  if (__builtin_cpu_supports("avxvnni")) peaks.push_back({"avx_vnni", true, s8_avx_vnni()});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
    peaks.push_back({"avx512", false, f32_avx512()});
    peaks.push_back({"avx512", true, s8_avx512()});
  }
  if (__builtin_cpu_supports("avx512vnni")) peaks.push_back({"avx512_vnni", true, s8_avx512_vnni()});
#elif defined(__aarch64__)
  peaks.push_back({"neon", false, f32_neon()});
  peaks.push_back({"neon", true, s8_neon()});
  constexpr unsigned long kDotProduct = 1ul << 20, kInt8Matrix = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
  if (getauxval(AT_HWCAP) & kDotProduct) peaks.push_back({"neon_dotprod", true, s8_dotprod()});
  if (getauxval(AT_HWCAP2) & kInt8Matrix) peaks.push_back({"neon_i8mm", true, s8_i8mm()});
#endif
  return peaks;
}

// Reads `bytes`, a multiple of 1024, into registers 0 to 15; LOAD is assembly that loads register \\r from %0 + \\r * width. A
// loop in C++ would add to sums, which takes more of a core than loads do.
#define EDGELANE_16 EDGELANE_12 ",12,13,14,15"
#define EDGELANE_READ(name, target_string, width, LOAD)                                                   \
  __attribute__((target(target_string))) void name(const uint8_t* data, size_t bytes) {                   \
    for (const uint8_t* end = data + bytes; data != end; data += 16 * (width))                            \
      asm volatile(".irp r," EDGELANE_16 "\n\t" LOAD "\n\t.endr" : : "r"(data) : EDGELANE_READ_CLOBBERS); \
  }

#if defined(__x86_64__)
#define EDGELANE_READ_CLOBBERS                                                                                                  \
  "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"
EDGELANE_READ(read_sse, "sse2", 16, "movaps 16*\\r(%0), %%xmm\\r")
EDGELANE_READ(read_avx2, "avx2", 32, "vmovaps 32*\\r(%0), %%ymm\\r")
EDGELANE_READ(read_avx512, "avx512f", 64, "vmovaps 64*\\r(%0), %%zmm\\r")
#elif defined(__aarch64__)
#define EDGELANE_READ_CLOBBERS \
  "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15"
EDGELANE_READ(read_neon, "+simd", 16, "ldr q\\r, [%0, #16*\\r]")
#endif

using Read = void (*)(const uint8_t*, size_t);

Read widest_read() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return &read_avx512;
  if (__builtin_cpu_supports("avx2")) return &read_avx2;
  return &read_sse;
#else
  return &read_neon;
#endif
}

// Bytes of the data or unified cache of a level, 0 where the system does not tell.
size_t cache_bytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    std::string type, size;
    int found = 0;
    std::ifstream(folder + "level") >> found;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> size;
    if (found != level || type == "Instruction" || size.empty()) continue;
    const size_t unit = size.back() == 'M' ? 1024 * 1024 : size.back() == 'K' ? 1024 : 1;
    return std::stoul(size) * unit;
  }
  return 0;
}

constexpr size_t kLargestBuffer = size_t{1} << 30;
constexpr size_t kUnknownCaches[] = {32 * 1024, 512 * 1024, 8 * 1024 * 1024};  // where the system does not tell: common sizes

std::vector<Level> measure_levels() {
  const Read read = widest_read();
  std::vector<Level> levels;
  size_t largest = 0;
  for (int i = 0; i < 3; ++i) {
    const size_t told = cache_bytes(i + 1), size = told != 0 ? told : kUnknownCaches[i];
    levels.push_back({"L" + std::to_string(i + 1), size, 0});
    largest = std::max(largest, size);
  }
  levels.push_back({"memory", 0, 0});
  const size_t memory_buffer = std::min(kLargestBuffer, 3 * largest);
  AlignedBuffer<uint8_t> buffer(memory_buffer);
  std::memset(buffer.data(), 1, buffer.size());  // pages that were never written are one page of zeros, and stay in a cache
  for (Level& level : levels) {
    // Half of a cache, and of a large shared one a part that is well beyond the next smaller.
    const size_t half = std::min(level.size / 2, size_t{32} * 1024 * 1024);
    const size_t bytes = level.size == 0 ? memory_buffer : std::min(memory_buffer, half);
    const int repeats = static_cast<int>(std::max<size_t>(1, (size_t{1} << 20) / bytes));
    const double seconds = shortest(
        [&] {
          for (int r = 0; r < repeats; ++r) read(buffer.data(), bytes);
        },
        2 * kSeconds, 3);
    level.bytes_per_s = static_cast<double>(bytes) * repeats / seconds;
  }
  return levels;
}

std::vector<Barrier> measure_barriers() {
  std::vector<Barrier> barriers;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int threads = 1; threads <= cores; threads *= 2) {
    ThreadPool pool(threads);
    constexpr int kRounds = 100;
    const double seconds = shortest(
        [&] {
          for (int r = 0; r < kRounds; ++r) pool.parallel_for(threads, [](int, int) {});
        },
        kSeconds);
    barriers.push_back({threads, seconds / kRounds});
  }
  return barriers;
}

}  // namespace

double Ceilings::peak(const std::string& isa, bool int8) const {
  for (const Peak& peak : peaks)
    if (peak.isa == isa && peak.int8 == int8) return peak.macs_per_s;
  // Sets that only add dot products of bytes compute float32 with the instructions of another.
  constexpr const char* kFloatOf[][2] = {
      {"avx_vnni", "avx2"}, {"avx512_vnni", "avx512"}, {"neon_dotprod", "neon"}, {"neon_i8mm", "neon"}};
  for (const auto& pair : kFloatOf)
    if (isa == pair[0] && !int8) return peak(std::string(pair[1]), false);
  return 0;
}

double Ceilings::peak(bool int8) const {
  double best = 0;
  for (const Peak& peak : peaks)
    if (peak.int8 == int8) best = std::max(best, peak.macs_per_s);
  return best;
}

const Level& Ceilings::level_for(size_t bytes) const {
  for (const Level& level : levels)
    if (level.size != 0 && bytes <= level.size) return level;
  return levels.back();
}

double Ceilings::reading_seconds(size_t bytes) const {
  double seconds = 0;
  size_t held = 0;  // by the levels so far
  for (const Level& level : levels) {
    const size_t here = level.size == 0 ? bytes : std::min(bytes, level.size);
    if (here > held) seconds += static_cast<double>(here - held) / level.bytes_per_s;
    held = std::max(held, here);
  }
  return seconds;
}

Ceilings measure_ceilings() { return {measure_peaks(), measure_levels(), measure_barriers()}; }

}  // namespace edgelane::bench
