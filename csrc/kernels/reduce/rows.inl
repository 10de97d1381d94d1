// Bodies of ReduceRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/reduce/rows.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

template <class V>
float sum_row(const float* x, int64_t n) {
  return sum<V>(x, n);
}

// The better of two elements. V's own max and min give the second where either is NaN, so that NaN in `acc` stays and NaN in x is
// passed over; `Nan` keeps that of x, too.
template <class V, bool Max, bool Nan>
EDGELANE_INLINE V better(V x, V acc) {
  const V found = Max ? max(x, acc) : min(x, acc);
  if constexpr (!Nan) return found;
  return select(x == x, found, x);
}

// Four results side by side, so that one comparison need not wait for the one before it.
template <class V, bool Max, bool Nan>
float best_of_row(const float* x, int64_t n) {
  const V first = V::broadcast(x[0]);
  V acc[4] = {first, first, first, first};
  int64_t i = 0;
  for (; i + 4 * V::width <= n; i += 4 * V::width) {
    for (int k = 0; k < 4; ++k) acc[k] = better<V, Max, Nan>(V::loadu(x + i + k * V::width), acc[k]);
  }
  for_vectors<V>(n - i, [&](int64_t j, int lanes) {
    const V v = select(V::Mask::first(lanes), load<V>(x + i + j, lanes), acc[0]);
    acc[0] = better<V, Max, Nan>(v, acc[0]);
  });
  acc[0] = better<V, Max, Nan>(better<V, Max, Nan>(acc[0], acc[1]), better<V, Max, Nan>(acc[2], acc[3]));
  float lane[V::width];
  acc[0].storeu(lane);
  float best = lane[0];
  for (int k = 1; k < V::width; ++k) {
    if (lane[k] != lane[k] || (Max ? lane[k] > best : lane[k] < best)) best = lane[k];
  }
  return best;
}

template <class V>
void add_row(const float* x, float* y, int64_t n) {
  for_vectors<V>(n, [&](int64_t i, int lanes) { store(load<V>(y + i, lanes) + load<V>(x + i, lanes), y + i, lanes); });
}

template <class V, bool Max>
void better_row(const float* x, float* y, int64_t n) {
  for_vectors<V>(
      n, [&](int64_t i, int lanes) { store(better<V, Max, true>(load<V>(x + i, lanes), load<V>(y + i, lanes)), y + i, lanes); });
}

template <class V>
void divide_row(float* y, int64_t n, float divisor) {
  for_vectors<V>(n, [&](int64_t i, int lanes) { store(load<V>(y + i, lanes) / V::broadcast(divisor), y + i, lanes); });
}

template <class V, bool Max, bool Last>
void choose_row(const float* x, int64_t n, int32_t index, float* best, int32_t* at) {
  using Int = typename V::Int;
  const Int own = Int::broadcast(index);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const V v = load<V>(x + i, lanes), old = load<V>(best + i, lanes);
    const V low = Max ? old : v, high = Max ? v : old;
    const typename V::Mask chosen = Last ? low <= high : low < high;
    store(select(chosen, v, old), best + i, lanes);
    if (lanes == V::width) {
      select(chosen, own, Int::loadu(at + i)).storeu(at + i);
    } else {
      select(chosen, own, Int::load_first(at + i, lanes)).store_first(at + i, lanes);
    }
  });
}

template <class V>
constexpr ReduceRows make_rows() {
  return {sum_row<V>,
          best_of_row<V, true, true>,
          best_of_row<V, false, true>,
          add_row<V>,
          better_row<V, true>,
          better_row<V, false>,
          divide_row<V>,
          best_of_row<V, true, false>,
          best_of_row<V, false, false>,
          {{choose_row<V, false, false>, choose_row<V, false, true>}, {choose_row<V, true, false>, choose_row<V, true, true>}}};
}

}  // namespace
}  // namespace edgelane
