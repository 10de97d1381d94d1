// Bodies of SoftmaxRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/simd/activation.hpp"
#include "kernels/simd/loops.hpp"
#include "kernels/softmax/rows.hpp"

namespace edgelane {
namespace {

constexpr float kLowest = -__builtin_inff();

// e^x for x <= 0, and 0 where that is below the smallest normal number. NaN in gives NaN out.
template <class V>
EDGELANE_INLINE V exp_of_shifted(V x) {
  const V lowest = V::broadcast(-87.3f);
  V n;
  const V m = V::broadcast(1.0f) + reduced_expm1(max(lowest, x), &n);
  return select(x < lowest, V::zero(), m * power_of_two<V>(n.to_int()));
}

template <class V>
EDGELANE_INLINE V highest_of(const float* x, int64_t n) {
  const V lowest = V::broadcast(kLowest);
  V top[4] = {lowest, lowest, lowest, lowest};
  int64_t i = 0;
  for (; i + 4 * V::width <= n; i += 4 * V::width) {
    for (int k = 0; k < 4; ++k) top[k] = max(top[k], V::loadu(x + i + k * V::width));
  }
  for_vectors<V>(n - i, [&](int64_t j, int lanes) {
    const V v = load<V>(x + i + j, lanes);
    top[0] = max(top[0], lanes == V::width ? v : select(V::Mask::first(lanes), v, lowest));
  });
  return V::broadcast(max(max(top[0], top[1]), max(top[2], top[3])).reduce_max());
}

// The last vector, which may be a part of one, waits in a register: what was stored under a mask is slow to load again.
template <class V>
EDGELANE_INLINE void softmax_row(const float* x, float* y, int64_t n, bool log) {
  const V top = highest_of<V>(x, n);
  const int64_t last = (n - 1) / V::width * V::width;
  const int lanes = static_cast<int>(n - last);
  V total = V::zero();
  for (int64_t i = 0; i < last; i += V::width) {
    const V shifted = V::loadu(x + i) - top, e = exp_of_shifted(shifted);
    total = total + e;
    (log ? shifted : e).storeu(y + i);
  }
  const V shifted = load<V>(x + last, lanes) - top, e = exp_of_shifted(shifted);
  const float sum = (total + select(V::Mask::first(lanes), e, V::zero())).reduce_add();
  if (log) {
    const V shift = V::broadcast(activate(sum, {ActivationKind::log, 0.0f, 0.0f}));
    for (int64_t i = 0; i < last; i += V::width) (V::loadu(y + i) - shift).storeu(y + i);
    store(shifted - shift, y + last, lanes);
  } else {
    const V factor = V::broadcast(1.0f / sum);
    for (int64_t i = 0; i < last; i += V::width) (V::loadu(y + i) * factor).storeu(y + i);
    store(e * factor, y + last, lanes);
  }
}

template <class V>
void softmax_rows_of(const float* x, int64_t x_step, float* y, int64_t y_step, int64_t rows, int64_t n, bool log) {
  for (int64_t r = 0; r < rows; ++r) softmax_row<V>(x + r * x_step, y + r * y_step, n, log);
}

template <class V>
void softmax_columns(const float* x, int64_t x_step, float* y, int64_t y_step, int count, int64_t n, bool log) {
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    V top = V::broadcast(kLowest), total = V::zero();
    for (int k = 0; k < count; ++k) top = max(top, load<V>(x + k * x_step + i, lanes));
    for (int k = 0; k < count; ++k) {
      const V shifted = load<V>(x + k * x_step + i, lanes) - top, e = exp_of_shifted(shifted);
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
  return {softmax_rows_of<V>, softmax_columns<V>};
}

}  // namespace
}  // namespace edgelane
