// What normalisation means, in double; never optimised.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/normalize/normalize.hpp"

namespace edgelane::reference {

inline void normalize(const NormalizeProblem& p, Span<const float> scale, Span<const float> bias, const float* x, float* y) {
  const ElementOffsets in(p.input), out(p.output);
  const int rank = p.input.rank;
  int outer[kMaxRank], inner[kMaxRank];
  double count = 1;
  for (int a = 0; a < rank; ++a) {
    outer[a] = a < p.axis ? p.input.dims[a] : 1;
    inner[a] = a < p.axis ? 1 : p.input.dims[a];
    count *= inner[a];
  }
  int i[kMaxRank] = {};
  do {
    const auto for_elements = [&](const auto& f) {
      int k[kMaxRank] = {};
      size_t element = 0;
      do {
        int at[kMaxRank];
        for (int a = 0; a < rank; ++a) at[a] = i[a] + k[a];
        f(double{x[in(at, rank)]}, out(at, rank), element++);
      } while (next_index(k, inner, rank));
    };
    double mean = 0, squares = 0;
    if (!p.mean_square) for_elements([&](double v, int64_t, size_t) { mean += v / count; });
    for_elements([&](double v, int64_t, size_t) { squares += (v - mean) * (v - mean) / count; });
    for_elements([&](double v, int64_t to, size_t element) {
      const double normal = (v - mean) / std::sqrt(squares + double{p.epsilon});
      y[to] = static_cast<float>(normal * (scale.empty() ? 1.0 : double{scale[element]}) +
                                 (bias.empty() ? 0.0 : double{bias[element]}));
    });
  } while (next_index(i, outer, rank));
  fill_borders(y, p.output);
}

}  // namespace edgelane::reference
