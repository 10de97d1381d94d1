// What the steps that move elements mean, one element at a time; never optimised.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/movement/movement.hpp"

namespace edgelane::reference {

// One element from x to y; int8 with another scale or zero point is requantised.
inline void move(const TensorDesc& input, const void* x, int64_t from, const TensorDesc& output, void* y, int64_t to) {
  const bool same = input.quant.scale == output.quant.scale && input.quant.zero_point == output.quant.zero_point;
  if (input.int8() && !same) {
    store_real(output, y, to, load_real(input, x, from));
    return;
  }
  const size_t bytes = dtype_bytes(output.dtype);
  std::memcpy(static_cast<char*>(y) + to * bytes, static_cast<const char*>(x) + from * bytes, bytes);
}

// Element i of y is the element `source(axis, i[axis])` of x, axis by axis; axis a of x stands at axis `perm[a]`'s inverse.
// `source` maps (output axis, output index) to the index along the input axis `input_axis(output axis)`; -1 leaves y alone.
template <class InputAxis, class Source>
void gather(const TensorDesc& input, const TensorDesc& output, const void* x, void* y, InputAxis input_axis, Source source) {
  const ElementOffsets in(input), out(output);
  int i[kMaxRank] = {};
  do {
    int at[kMaxRank] = {};
    bool inside = true;
    for (int a = 0; a < output.rank; ++a) {
      at[input_axis(a)] = source(a, i[a]);
      inside = inside && at[input_axis(a)] >= 0;
    }
    if (inside) move(input, x, in(at, input.rank), output, y, out(i, output.rank));
  } while (next_index(i, output.dims, output.rank));
}

inline void concat(Span<const TensorDesc> inputs, const TensorDesc& output, int axis, const void* const* x, void* y) {
  int first = 0;
  for (size_t k = 0; k < inputs.size(); ++k) {
    const int last = first + inputs[k].dims[axis];
    gather(
        inputs[k], output, x[k], y, [](int a) { return a; },
        [&](int a, int i) { return a != axis                ? i
                                   : i >= first && i < last ? i - first
                                                            : -1; });
    first = last;
  }
  fill_borders(y, output);
}

inline void slice(const TensorDesc& input, const TensorDesc& output, Span<const int> starts, Span<const int> steps, const void* x,
                  void* y) {
  gather(input, output, x, y, [](int a) { return a; }, [&](int a, int i) { return starts[a] + i * steps[a]; });
  fill_borders(y, output);
}

inline void transpose(const TensorDesc& input, const TensorDesc& output, Span<const int> perm, const void* x, void* y) {
  gather(input, output, x, y, [&](int a) { return perm[a]; }, [](int, int i) { return i; });
  fill_borders(y, output);
}

inline void reshape(const TensorDesc& input, const TensorDesc& output, const void* x, void* y) {
  const ElementOffsets in(input), out(output);
  int i[kMaxRank] = {}, o[kMaxRank] = {};
  do {
    move(input, x, in(i, input.rank), output, y, out(o, output.rank));
    next_index(o, output.dims, output.rank);
  } while (next_index(i, input.dims, input.rank));
  fill_borders(y, output);
}

inline void channel_shuffle(const TensorDesc& input, const TensorDesc& output, int groups, const void* x, void* y) {
  const int per_group = input.dims[1] / groups;
  gather(
      input, output, x, y, [](int a) { return a; },
      [&](int a, int i) { return a == 1 ? i % groups * per_group + i / groups : i; });
  fill_borders(y, output);
}

// Index of the input element that position i - before of a padded axis shows; -1: the constant.
inline int pad_source(PadMode mode, int i, int before, int size) {
  const int at = i - before;
  if (at >= 0 && at < size) return at;
  switch (mode) {
    case PadMode::constant:
      return -1;
    case PadMode::edge:
      return std::min(std::max(at, 0), size - 1);
    case PadMode::reflect: {
      if (size == 1) return 0;
      const int period = 2 * (size - 1);
      const int k = ((at % period) + period) % period;
      return k < size ? k : period - k;
    }
    case PadMode::wrap:
      return ((at % size) + size) % size;
  }
  return -1;
}

// The constant of a pad as bytes of an element: real in float32 and int8, in integers rounded towards zero, to the nearest end of
// int64 at most, whose low bits narrower ones keep; true is every number but zero.
inline void store_constant(const TensorDesc& t, void* data, int64_t offset, float value) {
  if (t.dtype == DType::float32 || t.dtype == DType::int8) return store_real(t, data, offset, value);
  const int64_t whole = value >= 9223372036854775808.0f   ? INT64_MAX
                        : value < -9223372036854775808.0f ? INT64_MIN
                                                          : static_cast<int64_t>(value);
  switch (t.dtype) {
    case DType::boolean:
      static_cast<uint8_t*>(data)[offset] = value != 0.0f ? 1 : 0;
      return;
    case DType::uint8:
      static_cast<uint8_t*>(data)[offset] = static_cast<uint8_t>(whole);
      return;
    case DType::int32:
      static_cast<int32_t*>(data)[offset] = static_cast<int32_t>(whole);
      return;
    default:
      static_cast<int64_t*>(data)[offset] = whole;
  }
}

inline void pad(const TensorDesc& input, const TensorDesc& output, Span<const int> before, PadMode mode, float value,
                const void* x, void* y) {
  const ElementOffsets out(output);
  int i[kMaxRank] = {};
  if (mode == PadMode::constant) {
    do {
      store_constant(output, y, out(i, output.rank), value);
    } while (next_index(i, output.dims, output.rank));
  }
  gather(
      input, output, x, y, [](int a) { return a; }, [&](int a, int k) { return pad_source(mode, k, before[a], input.dims[a]); });
  fill_borders(y, output);
}

}  // namespace edgelane::reference
