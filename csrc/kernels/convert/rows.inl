// Bodies of ConvertRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
#include "kernels/convert/rows.hpp"
#include "kernels/simd/loops.hpp"
#include "kernels/simd/quantize.hpp"

namespace edgelane {
namespace {

template <class V>
void quantize_run(const float* x, uint8_t* y, int64_t n, float scale, int32_t zero_point) {
  const VectorQuant<V> q(scale, zero_point);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const typename V::Int stored = quantize_lanes(load<V>(x + i, lanes), q);
    lanes == V::width ? stored.store_u8(y + i) : stored.store_u8_first(y + i, lanes);
  });
}

template <class V>
void quantize_quads(const float* const x[4], uint32_t* y, int64_t n, float scale, int32_t zero_point) {
  using Int = typename V::Int;
  const VectorQuant<V> q(scale, zero_point);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const Int a = quantize_lanes(load<V>(x[0] + i, lanes), q), b = quantize_lanes(load<V>(x[1] + i, lanes), q);
    const Int c = quantize_lanes(load<V>(x[2] + i, lanes), q), d = quantize_lanes(load<V>(x[3] + i, lanes), q);
    const Int quads = (a | b.template shl<8>()) | (c.template shl<16>() | d.template shl<24>());
    lanes == V::width ? quads.storeu(y + i) : quads.store_first(y + i, lanes);
  });
}

template <class V>
void dequantize_run(const uint8_t* x, float* y, int64_t n, float scale, int32_t zero_point) {
  using Int = typename V::Int;
  const VectorQuant<V> q(scale, zero_point);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    store(dequantize_lanes<V>(lanes == V::width ? Int::load_u8(x + i) : Int::load_u8_first(x + i, lanes), q), y + i, lanes);
  });
}

template <class V, int kLane>
void dequantize_one_lane(const uint32_t* x, float* y, int64_t n, float scale, int32_t zero_point) {
  using Int = typename V::Int;
  const VectorQuant<V> q(scale, zero_point);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const Int quads = lanes == V::width ? Int::loadu(x + i) : Int::load_first(x + i, lanes);
    store(dequantize_lanes<V>(quads.template shr<8 * kLane>() & Int::broadcast(255), q), y + i, lanes);
  });
}

template <class V>
void dequantize_lane(const uint32_t* x, int lane, float* y, int64_t n, float scale, int32_t zero_point) {
  switch (lane) {
    case 0:
      return dequantize_one_lane<V, 0>(x, y, n, scale, zero_point);
    case 1:
      return dequantize_one_lane<V, 1>(x, y, n, scale, zero_point);
    case 2:
      return dequantize_one_lane<V, 2>(x, y, n, scale, zero_point);
    default:
      return dequantize_one_lane<V, 3>(x, y, n, scale, zero_point);
  }
}

template <class V>
void interleave(const uint8_t* const x[4], uint32_t* y, int64_t n) {
  using Int = typename V::Int;
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const auto bytes = [&](int k) __attribute__((always_inline)) {
      return lanes == V::width ? Int::load_u8(x[k] + i) : Int::load_u8_first(x[k] + i, lanes);
    };
    const Int quads = (bytes(0) | bytes(1).template shl<8>()) | (bytes(2).template shl<16>() | bytes(3).template shl<24>());
    lanes == V::width ? quads.storeu(y + i) : quads.store_first(y + i, lanes);
  });
}

template <class V, int kLane>
void extract_one_lane(const uint32_t* x, uint8_t* y, int64_t n) {
  using Int = typename V::Int;
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const Int quads = lanes == V::width ? Int::loadu(x + i) : Int::load_first(x + i, lanes);
    const Int bytes = quads.template shr<8 * kLane>() & Int::broadcast(255);
    lanes == V::width ? bytes.store_u8(y + i) : bytes.store_u8_first(y + i, lanes);
  });
}

template <class V>
void extract(const uint32_t* x, int lane, uint8_t* y, int64_t n) {
  switch (lane) {
    case 0:
      return extract_one_lane<V, 0>(x, y, n);
    case 1:
      return extract_one_lane<V, 1>(x, y, n);
    case 2:
      return extract_one_lane<V, 2>(x, y, n);
    default:
      return extract_one_lane<V, 3>(x, y, n);
  }
}

template <class V>
void rescale(const uint8_t* x, uint8_t* y, int64_t n, const ByteRescale& rescale) {
  using Int = typename V::Int;
  const Int from_zero = Int::broadcast(rescale.from_zero);
  const V to_zero = V::broadcast(static_cast<float>(rescale.to_zero)), factor = V::broadcast(rescale.factor);
  for_vectors<V>(n, [&](int64_t i, int lanes) {
    const Int stored = lanes == V::width ? Int::load_u8(x + i) : Int::load_u8_first(x + i, lanes);
    const V v = round_even((stored - from_zero).to_float() * factor) + to_zero;
    const Int bytes = min(max(v, V::zero()), V::broadcast(255.0f)).to_int();
    lanes == V::width ? bytes.store_u8(y + i) : bytes.store_u8_first(y + i, lanes);
  });
}

template <class V>
constexpr ConvertRows make_rows() {
  return {quantize_run<V>, quantize_quads<V>, dequantize_run<V>, dequantize_lane<V>, interleave<V>, extract<V>, rescale<V>};
}

}  // namespace
}  // namespace edgelane
