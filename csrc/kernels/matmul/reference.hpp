// What matrix products mean; never optimised.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/matmul/matmul.hpp"

namespace edgelane::reference {

// Calls f(offset in a, offset in b, offset in y, k) for each product of the sum behind each element of y, k rising.
template <class F>
void for_products(const TensorDesc& a, const TensorDesc& b, const TensorDesc& y, const F& f) {
  const ElementOffsets at_a(a), at_b(b), at_y(y);
  const int depth = a.dims[a.rank - 1];
  int i[kMaxRank] = {};
  do {
    int in_a[kMaxRank] = {}, in_b[kMaxRank] = {};
    for (int axis = 0; axis < y.rank - 2; ++axis) {
      const int axis_a = axis - (y.rank - a.rank), axis_b = axis - (y.rank - b.rank);
      if (axis_a >= 0) in_a[axis_a] = std::min(i[axis], a.dims[axis_a] - 1);
      if (axis_b >= 0) in_b[axis_b] = std::min(i[axis], b.dims[axis_b] - 1);
    }
    in_a[a.rank - 2] = i[y.rank - 2];
    in_b[b.rank - 1] = i[y.rank - 1];
    for (int k = 0; k < depth; ++k) {
      in_a[a.rank - 1] = in_b[b.rank - 2] = k;
      f(at_a(in_a, a.rank), at_b(in_b, b.rank), at_y(i, y.rank), k);
    }
  } while (next_index(i, y.dims, y.rank));
}

// magnitude, with y's layout: the sums of the products' absolute values, by which rounding errors are measured.
inline void matmul_f32(const TensorDesc& desc_a, const TensorDesc& desc_b, const TensorDesc& desc_y, const float* a,
                       const float* b, float* y, float* magnitude) {
  double sum = 0, size = 0;
  for_products(desc_a, desc_b, desc_y, [&](int64_t at_a, int64_t at_b, int64_t at_y, int k) {
    const double product = double{a[at_a]} * double{b[at_b]};
    sum = (k == 0 ? 0.0 : sum) + product;
    size = (k == 0 ? 0.0 : size) + std::fabs(product);
    y[at_y] = static_cast<float>(sum);
    magnitude[at_y] = static_cast<float>(size);
  });
  fill_borders(y, desc_y);
  fill_borders(magnitude, desc_y);
}

inline void matmul_s32(const TensorDesc& desc_a, const TensorDesc& desc_b, const TensorDesc& desc_y, const int32_t* a,
                       const int32_t* b, int32_t* y) {
  for_products(desc_a, desc_b, desc_y, [&](int64_t at_a, int64_t at_b, int64_t at_y, int k) {
    const uint32_t product = static_cast<uint32_t>(a[at_a]) * static_cast<uint32_t>(b[at_b]);
    y[at_y] = static_cast<int32_t>((k == 0 ? 0u : static_cast<uint32_t>(y[at_y])) + product);
  });
}

}  // namespace edgelane::reference
