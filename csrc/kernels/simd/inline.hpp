// Vector code is inlined into the loops of its own source file, at every optimisation level.
#pragma once

#define EDGELANE_INLINE inline __attribute__((always_inline))

// Keeps a pointer whole. Where addresses are a register and a small number, GCC would keep one register for each vector of a tile
// and add the offset to each of them in every step of a loop.
#if defined(__aarch64__)
#define EDGELANE_KEEP_POINTER(p) asm("" : "+r"(p))
#else
#define EDGELANE_KEEP_POINTER(p) static_cast<void>(p)
#endif
