// Which kernel sets this CPU can run, and which one a caller forces.
#pragma once

#include <string>
#include <vector>

namespace edgelane {

// Ordered within an architecture, from slow to fast. avx_vnni is AVX2 with AVX-VNNI: the newest CPUs without AVX-512 have it, and
// the first ones with AVX-512 VNNI do not. neon is what every AArch64 CPU has.
enum class Isa : int { scalar, avx2, avx_vnni, avx512, avx512_vnni, neon, neon_dotprod, neon_i8mm };

const char* isa_name(Isa isa) noexcept;

// Whether a kernel of the set `kernel` runs wherever `level` does. This is no total order: avx512 does not include avx_vnni.
bool isa_includes(Isa level, Isa kernel) noexcept;

// All levels of this build that the CPU and the operating system can run, scalar first and the fastest last.
const std::vector<Isa>& available_isas();

// The level to use. `request` empty: the EDGELANE_ISA environment variable, else the best available one.
// Throws Error(invalid_argument) for an unknown name (listing the known ones), Error(unsupported) for one that this CPU lacks.
Isa select_isa(const std::string& request);

// The CPU's own name, such as "AMD EPYC 9B14", or "unknown".
std::string cpu_name();

}  // namespace edgelane
