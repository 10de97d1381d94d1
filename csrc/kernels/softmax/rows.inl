// Bodies of SoftmaxRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/simd/activation.hpp"
#include "kernels/simd/loops.hpp"
#include "kernels/softmax/rows.hpp"

namespace edgelane {
namespace {

constexpr float kLowest = -__builtin_inff();

template <class V>
void softmax_row(const float* x, float* y, int64_t n, bool log) {
  V highest = V::broadcast(kLowest);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const V v = load<V>(x + i, lanes);
    highest = max(highest, lanes == V::width ? v : select(V::Mask::first(lanes), v, highest));
  });
  const V top = V::broadcast(highest.reduce_max());
  V total = V::zero();
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const V shifted = load<V>(x + i, lanes) - top, e = exp(shifted);
    total = total + (lanes == V::width ? e : select(V::Mask::first(lanes), e, V::zero()));
    store(log ? shifted : e, y + i, lanes);
  });
  const float sum = total.reduce_add();
  if (log) {
    const V shift = V::broadcast(activate(sum, {ActivationKind::log, 0.0f, 0.0f}));
    for_vectors<V>(n, [&](int64_t i, int lanes) { store(load<V>(y + i, lanes) - shift, y + i, lanes); });
  } else {
    const V factor = V::broadcast(1.0f / sum);
    for_vectors<V>(n, [&](int64_t i, int lanes) { store(load<V>(y + i, lanes) * factor, y + i, lanes); });
  }
}

template <class V>
void softmax_columns(const float* x, int64_t x_step, float* y, int64_t y_step, int count, int64_t n, bool log) {
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    V top = V::broadcast(kLowest), total = V::zero();
    for (int k = 0; k < count; ++k) top = max(top, load<V>(x + k * x_step + i, lanes));
    for (int k = 0; k < count; ++k) {
      const V shifted = load<V>(x + k * x_step + i, lanes) - top, e = exp(shifted);
      total = total + e;
      store(log ? shifted : e, y + k * y_step + i, lanes);
    }
    const V end = log ? activate_lanes(total, {ActivationKind::log, 0.0f, 0.0f}) : V::broadcast(1.0f) / total;
    for (int k = 0; k < count; ++k) {
      const V v = load<V>(y + k * y_step + i, lanes);
      store(log ? v - end : v * end, y + k * y_step + i, lanes);
    }
  });
}

template <class V>
constexpr SoftmaxRows make_rows() {
  return {softmax_row<V>, softmax_columns<V>};
}

}  // namespace
}  // namespace edgelane
