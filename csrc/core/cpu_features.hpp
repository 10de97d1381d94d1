// Which kernel sets this CPU can run, and which one a caller forces.
#pragma once

#include <string>
#include <vector>

namespace edgelane {

// Ordered within an architecture: a kernel runs on every level at or above its own.
enum class Isa : int { scalar = 0, avx2 = 1, avx512 = 2, avx512_vnni = 3 };

const char* isa_name(Isa isa) noexcept;

// All levels that this CPU and operating system can run, scalar first.
const std::vector<Isa>& available_isas();

// The level to use. `request` empty: the EDGELANE_ISA environment variable, else the best available one.
// Throws Error(invalid_argument) for an unknown name (listing the known ones), Error(unsupported) for one that this CPU lacks.
Isa select_isa(const std::string& request);

// The CPU's own name, such as "AMD EPYC 9B14", or "unknown".
std::string cpu_name();

}  // namespace edgelane
