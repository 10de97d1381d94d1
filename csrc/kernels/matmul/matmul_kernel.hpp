// Between preparation (matmul.cpp, portable) and the kernels (tile.hpp, compiled once for each instruction set).
#pragma once

#include <cstdint>

#include "core/cpu_features.hpp"

namespace edgelane {

constexpr int kMaxMatmulRows = 6;  // of a tile

// A tile of the output: `rows` rows, `columns` columns side by side. Elements are float32 or int32.
struct MatmulTile {
  const void* a[kMaxMatmulRows];  // for each row, its `depth` elements side by side
  void* y[kMaxMatmulRows];        // for each row, its first column
  const void* b;                  // `depth` rows of columns; what fills the last vector of columns can be read
  int64_t b_step;                 // elements from a row of b to the next
  int depth, rows, columns;
  bool accumulate;  // add to what is in y
};

struct MatmulKernel {
  const char* name;
  Isa isa;
  int rows, vectors;  // of a tile, at most
  int lanes;          // columns of a vector
  void (*tile)(const MatmulTile& tile);
  // Copies `depth` rows of `columns` elements, from_step apart, to rows of whole vectors behind each other; the rest is 0.
  void (*pack)(const void* from, int64_t from_step, int depth, int columns, void* to);
};

}  // namespace edgelane
