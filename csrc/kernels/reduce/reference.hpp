// What reductions mean, in double; never optimised.
#pragma once

#include <algorithm>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/reduce/reduce.hpp"

namespace edgelane::reference {

inline void reduce_mean(const TensorDesc& input, const TensorDesc& output, Span<const int> axes, const float* x, float* y) {
  const ElementOffsets in(input), out(output);
  int reduced[kMaxRank];
  std::fill(reduced, reduced + kMaxRank, 1);
  double count = 1;
  for (int axis : axes) {
    reduced[axis] = input.dims[axis];
    count *= input.dims[axis];
  }
  int i[kMaxRank] = {};
  do {
    double sum = 0;
    int k[kMaxRank] = {};
    do {
      int at[kMaxRank];
      for (int a = 0; a < input.rank; ++a) at[a] = i[a] + k[a];
      sum += x[in(at, input.rank)];
    } while (next_index(k, reduced, input.rank));
    y[out(i, output.rank)] = static_cast<float>(sum / count);
  } while (next_index(i, output.dims, output.rank));
  fill_borders(y, output);
}

}  // namespace edgelane::reference
