// What quantize, dequantize and requantize mean, one element at a time; never optimised.
#pragma once

#include <cmath>
#include <cstring>

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

// A number of any dtype: what is not a float32 is a whole number.
struct Number {
  bool is_float;
  float real;
  int64_t whole;
};

inline Number load_number(const TensorDesc& t, const void* data, int64_t offset) {
  const auto* p = static_cast<const uint8_t*>(data) + offset * static_cast<int64_t>(dtype_bytes(t.dtype));
  const auto load = [&](auto value) {
    std::memcpy(&value, p, sizeof(value));
    return value;
  };
  switch (t.dtype) {
    case DType::float32:
      return {true, load(float{}), 0};
    case DType::int8:
      return {false, 0, load_s8(data, offset)};
    case DType::int32:
      return {false, 0, load(int32_t{})};
    case DType::int64:
      return {false, 0, load(int64_t{})};
    case DType::boolean:
      return {false, 0, load(uint8_t{}) != 0};
    case DType::uint8:
      return {false, 0, load(uint8_t{})};
  }
  return {};
}

inline void store_number(const TensorDesc& t, void* data, int64_t offset, const Number& v) {
  auto* p = static_cast<uint8_t*>(data) + offset * static_cast<int64_t>(dtype_bytes(t.dtype));
  const auto store = [&](auto value) { std::memcpy(p, &value, sizeof(value)); };
  if (t.dtype == DType::float32) return store(v.is_float ? v.real : static_cast<float>(v.whole));
  if (t.dtype == DType::boolean) return store(uint8_t{v.is_float ? v.real != 0.0f : v.whole != 0});
  int64_t whole = v.whole;
  if (v.is_float) {
    const double end = t.dtype == DType::int64 ? 0x1p63 : 0x1p31, towards_zero = std::trunc(double{v.real});
    if (std::isnan(v.real))
      whole = 0;
    else if (towards_zero < end)
      whole = static_cast<int64_t>(std::max(towards_zero, -end));
    else
      whole = t.dtype == DType::int64 ? INT64_MAX : INT32_MAX;
  }
  if (t.dtype == DType::int8) return store_s8(data, offset, static_cast<int8_t>(whole));
  if (t.dtype == DType::int32) return store(static_cast<int32_t>(whole));
  if (t.dtype == DType::int64) return store(whole);
  store(static_cast<uint8_t>(whole));
}

inline void cast(const TensorDesc& input, const TensorDesc& output, const void* x, void* y) {
  const ElementOffsets in(input), out(output);
  int i[kMaxRank] = {};
  do {
    store_number(output, y, out(i, output.rank), load_number(input, x, in(i, input.rank)));
  } while (next_index(i, output.dims, output.rank));
  fill_borders(y, output);
}

inline void recode(const TensorDesc& input, const TensorDesc& output, const void* x, void* y) {
  const ElementOffsets in(input), out(output);
  int i[kMaxRank] = {};
  do {
    const int64_t v = load_number(input, x, in(i, input.rank)).whole;
    store_number(output, y, out(i, output.rank), {false, 0, input.int8() ? v + 128 : v - 128});
  } while (next_index(i, output.dims, output.rank));
  fill_borders(y, output);
}

}  // namespace edgelane::reference
