// The walk over the results of every reduction, on all threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/border.hpp"
#include "kernels/kernel.hpp"
#include "kernels/reduce/shape.hpp"
#include "kernels/split.hpp"

namespace edgelane {

// Each result from the runs that it is made of, or, where the innermost axis is kept, `block` results at a time from rows of
// columns.
template <class T, class Result, class Runs, class Columns>
void reduce_all(const KernelArgs& args, const ReduceShape& shape, const TensorDesc& output, int64_t block,
                const Runs& reduce_runs, const Columns& reduce_columns) noexcept {
  const T* x = static_cast<const T*>(args.inputs[0]) + shape.x_base();
  Result* y = static_cast<Result*>(args.output) + shape.y_base();
  if (shape.row_reduced()) {
    parallel_ranges(*args.pool, shape.items(), shape.sums() * shape.row(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const ReduceShape::Place at = shape.item(i);
        y[at.y] = reduce_runs(x + at.x);
      }
    });
  } else {
    const int64_t row = shape.row(), blocks = (row + block - 1) / block;
    parallel_ranges(*args.pool, shape.items() * blocks, shape.sums() * std::min(row, block), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const ReduceShape::Place at = shape.item(i / blocks);
        const int64_t first = i % blocks * block;
        reduce_columns(x + at.x + first, y + at.y + first, std::min(block, row - first));
      }
    });
  }
  fill_borders(args.output, output);
}

}  // namespace edgelane
