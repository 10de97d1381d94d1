#include "core/cpu_features.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/status.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace edgelane {
namespace {

constexpr Isa kAllIsas[] = {Isa::scalar,      Isa::avx2, Isa::avx_vnni,     Isa::avx512,
                            Isa::avx512_vnni, Isa::neon, Isa::neon_dotprod, Isa::neon_i8mm};

// Old compilers build without the newest sets (EDGELANE_WITHOUT_<isa>: cmake/isa.cmake).
#if defined(__x86_64__)
#if defined(EDGELANE_WITHOUT_avx_vnni)
constexpr bool kAvxVnniBuilt = false;
#else
constexpr bool kAvxVnniBuilt = true;
#endif

// Not every compiler's __builtin_cpu_supports knows the name.
bool cpuid_has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

// __builtin_cpu_supports asks CPUID and, for the wide registers, whether the operating system saves them.
bool cpu_runs(Isa isa) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx_vnni:
      return kAvxVnniBuilt && avx2 && cpuid_has_avx_vnni();
    case Isa::avx512:
      return avx512;
    case Isa::avx512_vnni:
      return avx512 && __builtin_cpu_supports("avx512vnni");
    default:
      return false;
  }
}
#elif defined(__aarch64__)
#if defined(EDGELANE_WITHOUT_neon_i8mm)
constexpr bool kNeonI8mmBuilt = false;
#else
constexpr bool kNeonI8mmBuilt = true;
#endif

// Linux reports the instructions that CPU and kernel support in the process's auxiliary vector.
bool cpu_runs(Isa isa) {
#if defined(__linux__)
  constexpr unsigned long kAsimdDotProduct = 1ul << 20, kInt8Matrix = 1ul << 13;  // not all headers name them
  const bool dotprod = (getauxval(AT_HWCAP) & kAsimdDotProduct) != 0;
  const bool i8mm = (getauxval(AT_HWCAP2) & kInt8Matrix) != 0;
#else
  const bool dotprod = false, i8mm = false;
#endif
  switch (isa) {
    case Isa::scalar:
    case Isa::neon:
      return true;
    case Isa::neon_dotprod:
      return dotprod;
    case Isa::neon_i8mm:
      return kNeonI8mmBuilt && dotprod && i8mm;
    default:
      return false;
  }
}
#else
bool cpu_runs(Isa isa) { return isa == Isa::scalar; }
#endif

std::string names_of(const std::vector<Isa>& isas) {
  std::string names;
  for (Isa isa : isas) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  return names;
}

}  // namespace

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx_vnni:
      return "avx_vnni";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_vnni:
      return "avx512_vnni";
    case Isa::neon:
      return "neon";
    case Isa::neon_dotprod:
      return "neon_dotprod";
    case Isa::neon_i8mm:
      return "neon_i8mm";
  }
  return "unknown";
}

bool isa_includes(Isa level, Isa kernel) noexcept {
  if (level == kernel || kernel == Isa::scalar) return true;
  switch (level) {
    case Isa::scalar:
    case Isa::avx2:
      return false;
    case Isa::avx_vnni:
    case Isa::avx512:
      return kernel == Isa::avx2;
    case Isa::avx512_vnni:
      return kernel == Isa::avx2 || kernel == Isa::avx512;
    case Isa::neon:
      return false;
    case Isa::neon_dotprod:
      return kernel == Isa::neon;
    case Isa::neon_i8mm:
      return kernel == Isa::neon || kernel == Isa::neon_dotprod;
  }
  return false;
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    for (Isa isa : kAllIsas)
      if (cpu_runs(isa)) found.push_back(isa);
    return found;
  }();
  return isas;
}

Isa select_isa(const std::string& request) {
  std::string wanted = request, from;
  if (wanted.empty()) {
    const char* environment = std::getenv("EDGELANE_ISA");
    if (environment != nullptr) wanted = environment;
    from = "EDGELANE_ISA: ";
  }
  const std::vector<Isa>& available = available_isas();
  if (wanted.empty()) return available.back();
  for (Isa isa : kAllIsas) {
    if (wanted != isa_name(isa)) continue;
    for (Isa have : available)
      if (have == isa) return isa;
    throw Error(StatusCode::unsupported,
                from + "instruction set " + wanted + " is not available on this CPU, which has " + names_of(available));
  }
  throw Error(StatusCode::invalid_argument, from + "unknown instruction set '" + wanted + "'; known are " +
                                                names_of(std::vector<Isa>(std::begin(kAllIsas), std::end(kAllIsas))));
}

std::string cpu_name() {
#if defined(__x86_64__)
  unsigned regs[12] = {};
  if (__get_cpuid_max(0x80000000u, nullptr) >= 0x80000004u) {
    for (unsigned leaf = 0; leaf < 3; ++leaf)
      __cpuid(0x80000002u + leaf, regs[leaf * 4], regs[leaf * 4 + 1], regs[leaf * 4 + 2], regs[leaf * 4 + 3]);
    char brand[sizeof(regs) + 1] = {};
    std::memcpy(brand, regs, sizeof(regs));
    std::string name(brand);
    const size_t first = name.find_first_not_of(' ');
    if (first != std::string::npos) return name.substr(first, name.find_last_not_of(' ') - first + 1);
  }
#else
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) != 0 && line.rfind("Model", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
#endif
  return "unknown";
}

}  // namespace edgelane
