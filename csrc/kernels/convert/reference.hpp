// What quantize, dequantize and requantize mean, one element at a time; never optimised.
#pragma once

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/convert/convert.hpp"

namespace edgelane::reference {

// All three: the real value of each element, stored in the output's dtype.
inline void convert(const TensorDesc& input, const TensorDesc& output, const void* x, void* y) {
  const ElementOffsets in(input), out(output);
  int i[kMaxRank] = {};
  do {
    store_real(output, y, out(i, output.rank), load_real(input, x, in(i, input.rank)));
  } while (next_index(i, output.dims, output.rank));
  fill_borders(y, output);
}

}  // namespace edgelane::reference
