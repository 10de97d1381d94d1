#include "kernels/convert/requantizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/access.hpp"
#include "kernels/function_kernel.hpp"

namespace edgelane {

Requantizer::Requantizer(QuantParams from, QuantParams to, Isa isa)
    : identity_(from.scale == to.scale && from.zero_point == to.zero_point), rows_(EDGELANE_FOR_ISA(isa, convert_rows)) {
  if (identity_) {  // as for all that is not int8: nothing to compute
    std::iota(table_.begin(), table_.end(), uint8_t{0});
    return;
  }
  const std::vector<uint8_t> table = byte_table(from, to, [](float real) { return real; });
  std::copy(table.begin(), table.end(), table_.begin());
  // One factor rounds once where scale and scale round twice. That it gives the same bytes is seen here, not proven.
  factor_.from_zero = from.zero_point + kActivationBias;
  factor_.to_zero = to.zero_point + kActivationBias;
  factor_.factor = from.scale / to.scale;
  by_factor_ = std::isfinite(factor_.factor);
  for (int i = 0; i < 256 && by_factor_; ++i) {
    const float rounded = std::nearbyintf(static_cast<float>(i - factor_.from_zero) * factor_.factor);
    const float stored = std::min(std::max(rounded + static_cast<float>(factor_.to_zero), 0.0f), 255.0f);
    by_factor_ = stored == static_cast<float>(table_[static_cast<size_t>(i)]);
  }
}

void Requantizer::run(const uint8_t* x, uint8_t* y, int64_t n) const noexcept {
  if (identity_) {
    if (x != y) std::memcpy(y, x, static_cast<size_t>(n));
  } else if (by_factor_) {
    rows_->rescale(x, y, n, factor_);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = table_[x[i]];
  }
}

}  // namespace edgelane
