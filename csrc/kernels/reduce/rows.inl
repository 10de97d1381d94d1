// Bodies of ReduceRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/reduce/rows.hpp"
#include "kernels/simd/loops.hpp"

namespace edgelane {
namespace {

template <class V>
float sum_row(const float* x, int64_t n) {
  return sum<V>(x, n);
}

template <class V>
void add_row(const float* x, float* y, int64_t n) {
  for_vectors<V>(n, [&](int64_t i, int lanes) { store(load<V>(y + i, lanes) + load<V>(x + i, lanes), y + i, lanes); });
}

template <class V>
void divide_row(float* y, int64_t n, float divisor) {
  for_vectors<V>(n, [&](int64_t i, int lanes) { store(load<V>(y + i, lanes) / V::broadcast(divisor), y + i, lanes); });
}

template <class V>
constexpr ReduceRows make_rows() {
  return {sum_row<V>, add_row<V>, divide_row<V>};
}

}  // namespace
}  // namespace edgelane
