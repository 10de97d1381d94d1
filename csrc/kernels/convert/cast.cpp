// prepare_cast: any dtype to any other, as the numbers that they stand for; int8 as its integers.
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/check.hpp"
#include "kernels/convert/convert.hpp"
#include "kernels/convert/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"
#include "kernels/stored.hpp"
#include "kernels/strided.hpp"

namespace edgelane {
namespace {

// Towards zero; NaN gives 0, and what is out of range the nearest end.
template <class Int>
Int truncate(float x) {
  constexpr float kEnd = std::numeric_limits<Int>::digits == 31 ? 0x1p31f : 0x1p63f;
  if (x >= kEnd) return std::numeric_limits<Int>::max();
  if (x < -kEnd) return std::numeric_limits<Int>::min();
  return x == x ? static_cast<Int>(x) : Int{0};
}

template <class To, class From>
To cast_value(From v) {
  if constexpr (std::is_same_v<To, bool>)
    return v != From{0};
  else if constexpr (std::is_same_v<From, float> && std::is_integral_v<To>)
    return static_cast<To>(truncate<std::conditional_t<sizeof(To) == 8, int64_t, int32_t>>(v));
  else
    return static_cast<To>(v);
}

using CastRun = void (*)(const void* x, int64_t x_stride, void* y, int64_t y_stride, int64_t n);

template <class From, class To>
void cast_run(const void* x, int64_t x_stride, void* y, int64_t y_stride, int64_t n) {
  const auto* from = static_cast<const typename From::Memory*>(x);
  auto* to = static_cast<typename To::Memory*>(y);
  const auto cast = [](typename From::Memory m) { return To::store(cast_value<typename To::Value>(From::load(m))); };
  if (x_stride == 1 && y_stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = cast(from[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * y_stride] = cast(from[i * x_stride]);
  }
}

// Bytes to float32, from one plain tensor to a planar or plain one, by the row functions of dequantize.
std::unique_ptr<PreparedKernel> prepare_bytes(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options) {
  const KernelEntry& entry = select_kernel("convert", "cast_bytes", options);
  const auto run = [walk = StridedWalk<2>({&output, &input}), zero_point = input.int8() ? 0 : -kActivationBias,
                    rows = EDGELANE_FOR_ISA(entry.isa, convert_rows)](const KernelArgs& args) {
    const auto* x = static_cast<const uint8_t*>(args.inputs[0]);
    auto* y = static_cast<float*>(args.output);
    walk(args, [&](const auto& at, int64_t n) { rows->dequantize(x + at[1], y + at[0], n, 1.0f, zero_point); });
  };
  return make_kernel(entry, 0, run);
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_cast(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options) {
  check_same_shape("cast", input, output);
  if (output.dtype == DType::float32 && dtype_bytes(input.dtype) == 1) {
    if (!input.planar()) return prepare_bytes(input, output, options);
    TensorDesc integers = input;
    integers.quant = {};
    return prepare_dequantize(integers, output, options);
  }
  const CastRun cast = for_dtype(input.dtype, [&](auto from) {
    return for_dtype(output.dtype, [&](auto to) -> CastRun { return cast_run<decltype(from), decltype(to)>; });
  });
  const auto run = [cast, walk = StridedWalk<2>({&output, &input}), x_bytes = dtype_bytes(input.dtype),
                    y_bytes = dtype_bytes(output.dtype)](const KernelArgs& args) {
    const auto* x = static_cast<const uint8_t*>(args.inputs[0]);
    auto* y = static_cast<uint8_t*>(args.output);
    walk(args, [&](const auto& at, int64_t n) {
      cast(x + at[1] * static_cast<int64_t>(x_bytes), walk.strides()[1], y + at[0] * static_cast<int64_t>(y_bytes),
           walk.strides()[0], n);
    });
  };
  return make_kernel(select_kernel("convert", "cast", options), 0, run);
}

}  // namespace edgelane
