// The one inner loop of data movement that an instruction set matters for. Included by files with instruction-set flags.
#pragma once

#include <cstdint>

namespace edgelane {

// dst[i] byte k = the byte at bit shift[k] of src[k][i]: an int8 quad from four channels that lie in any planes and lanes.
using GatherQuads = void (*)(const uint32_t* const src[4], const int shift[4], uint32_t* dst, int64_t n);

namespace scalar {
void gather_quads(const uint32_t* const src[4], const int shift[4], uint32_t* dst, int64_t n);
}
namespace avx2 {
void gather_quads(const uint32_t* const src[4], const int shift[4], uint32_t* dst, int64_t n);
}
namespace avx512 {
void gather_quads(const uint32_t* const src[4], const int shift[4], uint32_t* dst, int64_t n);
}
namespace neon {
void gather_quads(const uint32_t* const src[4], const int shift[4], uint32_t* dst, int64_t n);
}

}  // namespace edgelane
