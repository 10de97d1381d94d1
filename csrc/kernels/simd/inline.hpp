// Vector code is inlined into the loops of its own source file, at every optimisation level.
#pragma once

#define EDGELANE_INLINE inline __attribute__((always_inline))

// Keeps a pointer whole. GCC would otherwise keep one register for each vector of a tile. On Arm it adds the offset to each of
// them in every step of a loop, and on x86 it runs out of registers, where a constant in the address costs nothing.
#define EDGELANE_KEEP_POINTER(p) asm("" : "+r"(p))
