// What softmax means, in double; never optimised.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/softmax/softmax.hpp"

namespace edgelane::reference {

inline void softmax(const TensorDesc& input, const TensorDesc& output, int axis, bool log, const float* x, float* y) {
  const ElementOffsets in(input), out(output);
  int outer[kMaxRank];
  std::copy(input.dims, input.dims + input.rank, outer);
  outer[axis] = 1;
  int i[kMaxRank] = {};
  do {
    const int64_t from = in(i, input.rank), to = out(i, output.rank);
    double highest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int k = 0; k < input.dims[axis]; ++k) highest = std::max<double>(highest, x[from + in.at(axis, k)]);
    for (int k = 0; k < input.dims[axis]; ++k) sum += std::exp(x[from + in.at(axis, k)] - highest);
    for (int k = 0; k < input.dims[axis]; ++k) {
      const double shifted = x[from + in.at(axis, k)] - highest;
      y[to + out.at(axis, k)] = static_cast<float>(log ? shifted - std::log(sum) : std::exp(shifted) / sum);
    }
  } while (next_index(i, outer, input.rank));
  fill_borders(y, output);
}

}  // namespace edgelane::reference
