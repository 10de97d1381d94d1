// Vector code is inlined into the loops of its own source file, at every optimisation level.
#pragma once

#define EDGELANE_INLINE inline __attribute__((always_inline))
