// Inner loops of data movement on 32-bit words, one set for each instruction set. Included by files with instruction-set flags:
// nothing inline here.
#pragma once

#include <cstdint>

namespace edgelane {

struct MoveWords {
  // to[r][c] = from[r][c]; steps from row to row, in words.
  void (*copy)(const uint32_t* from, int64_t from_step, uint32_t* to, int64_t to_step, int64_t rows, int64_t columns);
  // to[c][r] = from[r][c]
  void (*transpose)(const uint32_t* from, int64_t from_step, uint32_t* to, int64_t to_step, int64_t rows, int64_t columns);
};

namespace scalar {
extern const MoveWords move_words;
}
namespace avx2 {
extern const MoveWords move_words;
}
namespace avx512 {
extern const MoveWords move_words;
}
namespace neon {
extern const MoveWords move_words;
}

}  // namespace edgelane
