// Element-wise steps on int32, int64 and bool: arithmetic that wraps around and never traps (export/FORMAT.md, "Arithmetic").
#include "kernels/elementwise/integers.hpp"

#include <limits>
#include <string>
#include <type_traits>

#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"
#include "kernels/strided.hpp"

namespace edgelane {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
constexpr int kBits = std::numeric_limits<Unsigned<T>>::digits;

template <class T>
T add(T a, T b) {
  return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
}
template <class T>
T sub(T a, T b) {
  return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
}
template <class T>
T mul(T a, T b) {
  return static_cast<T>(static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b));
}
template <class T>
T div(T a, T b) {
  if (b == 0) return 0;
  return b == -1 ? sub<T>(0, a) : a / b;  // the lowest number by -1 would trap
}
template <class T>
T fmod(T a, T b) {
  return b == 0 || b == -1 ? 0 : a % b;
}
template <class T>
T mod(T a, T b) {
  const T rest = fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
template <class T>
T max(T a, T b) {
  return a > b ? a : b;
}
template <class T>
T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T pow(T a, T b) {
  if (b < 0) return a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0;
  T result = 1;
  for (; b != 0; b >>= 1, a = mul(a, a)) {
    if (b & 1) result = mul(result, a);
  }
  return result;
}
template <class T>
T bit_and(T a, T b) {
  return a & b;
}
template <class T>
T bit_or(T a, T b) {
  return a | b;
}
template <class T>
T bit_xor(T a, T b) {
  return a ^ b;
}
template <class T>
T shift_left(T a, T b) {
  return b < 0 || b >= kBits<T> ? 0 : static_cast<T>(static_cast<Unsigned<T>>(a) << b);
}
template <class T>
T shift_right(T a, T b) {
  return b < 0 || b >= kBits<T> ? 0 : static_cast<T>(static_cast<Unsigned<T>>(a) >> b);
}
template <class T>
uint8_t equal(T a, T b) {
  return a == b;
}
template <class T>
uint8_t less(T a, T b) {
  return a < b;
}
template <class T>
uint8_t less_or_equal(T a, T b) {
  return a <= b;
}

// y[i] = f(a[i], b[i])
using BinaryRun = void (*)(const void* a, const void* b, void* y, int64_t n);

template <class T, class R, R (*f)(T, T)>
void each_pair(const void* a, const void* b, void* y, int64_t n) {
  const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
  R* result = static_cast<R*>(y);
  for (int64_t i = 0; i < n; ++i) result[i] = f(left[i], right[i]);
}

template <class T>
BinaryRun number_run(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::add:
      return each_pair<T, T, add<T>>;
    case BinaryFunction::sub:
      return each_pair<T, T, sub<T>>;
    case BinaryFunction::mul:
      return each_pair<T, T, mul<T>>;
    case BinaryFunction::div:
      return each_pair<T, T, div<T>>;
    case BinaryFunction::max:
      return each_pair<T, T, max<T>>;
    case BinaryFunction::min:
      return each_pair<T, T, min<T>>;
    case BinaryFunction::pow:
      return each_pair<T, T, pow<T>>;
    case BinaryFunction::mod:
      return each_pair<T, T, mod<T>>;
    case BinaryFunction::fmod:
      return each_pair<T, T, fmod<T>>;
    case BinaryFunction::equal:
      return each_pair<T, uint8_t, equal<T>>;
    case BinaryFunction::less:
      return each_pair<T, uint8_t, less<T>>;
    case BinaryFunction::less_or_equal:
      return each_pair<T, uint8_t, less_or_equal<T>>;
    case BinaryFunction::bit_and:
      return each_pair<T, T, bit_and<T>>;
    case BinaryFunction::bit_or:
      return each_pair<T, T, bit_or<T>>;
    case BinaryFunction::bit_xor:
      return each_pair<T, T, bit_xor<T>>;
    case BinaryFunction::shift_left:
      return each_pair<T, T, shift_left<T>>;
    case BinaryFunction::shift_right:
      return each_pair<T, T, shift_right<T>>;
    case BinaryFunction::logical_and:
    case BinaryFunction::logical_or:
    case BinaryFunction::logical_xor:
    case BinaryFunction::prelu:
      break;
  }
  return nullptr;
}

// Bools are bytes of 0 or 1.
BinaryRun bool_run(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::equal:
      return each_pair<uint8_t, uint8_t, equal<uint8_t>>;
    case BinaryFunction::logical_and:
      return each_pair<uint8_t, uint8_t, bit_and<uint8_t>>;
    case BinaryFunction::logical_or:
      return each_pair<uint8_t, uint8_t, bit_or<uint8_t>>;
    case BinaryFunction::logical_xor:
      return each_pair<uint8_t, uint8_t, bit_xor<uint8_t>>;
    default:
      return nullptr;
  }
}

template <class T>
void run_binary(const StridedWalk<3>& walk, BinaryRun run, size_t result_bytes, const KernelArgs& args) noexcept {
  const T *a = static_cast<const T*>(args.inputs[0]), *b = static_cast<const T*>(args.inputs[1]);
  auto* y = static_cast<uint8_t*>(args.output);
  const int64_t step_a = walk.strides()[1], step_b = walk.strides()[2];
  walk(args, [&](const auto& at, int64_t n) {
    constexpr int64_t kBlock = 256;
    T a_block[kBlock], b_block[kBlock];
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      run(side_by_side(a + at[1] + first * step_a, step_a, count, a_block),
          side_by_side(b + at[2] + first * step_b, step_b, count, b_block),
          y + (at[0] + first) * static_cast<int64_t>(result_bytes), count);
    }
  });
}

template <class T>
std::unique_ptr<PreparedKernel> binary_of(const BinaryProblem& p, BinaryRun run, const char* operation,
                                          const KernelOptions& options) {
  const auto kernel = [walk = StridedWalk<3>({&p.output, &p.a, &p.b}), run,
                       bytes = dtype_bytes(p.output.dtype)](const KernelArgs& args) { run_binary<T>(walk, run, bytes, args); };
  return make_kernel(select_kernel("elementwise", operation, options), 0, kernel, 0,
                     {replaceable(p.a, p.output), replaceable(p.b, p.output)});
}

template <class T>
std::unique_ptr<PreparedKernel> unary_of(const UnaryProblem& p, const char* operation, const KernelOptions& options) {
  const auto run = [p](const KernelArgs& args) {
    for_same_shape<T>(args, p.input, p.output, [&](const T* x, T* y, int64_t n) {
      switch (p.activation.kind) {
        case ActivationKind::relu:
          for (int64_t i = 0; i < n; ++i) y[i] = max<T>(x[i], 0);
          break;
        case ActivationKind::abs:
          for (int64_t i = 0; i < n; ++i) y[i] = x[i] < 0 ? sub<T>(0, x[i]) : x[i];
          break;
        case ActivationKind::neg:
          for (int64_t i = 0; i < n; ++i) y[i] = sub<T>(0, x[i]);
          break;
        case ActivationKind::sign:
          for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>((x[i] > 0) - (x[i] < 0));
          break;
        default:  // none
          for (int64_t i = 0; i < n; ++i) y[i] = x[i];
      }
    });
  };
  return make_kernel(select_kernel("elementwise", operation, options), 0, run, 0, {true});
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_unary_integers(const UnaryProblem& p, const KernelOptions& options) {
  if (p.input.dtype == DType::int32) return unary_of<int32_t>(p, "unary_s32", options);
  if (p.input.dtype == DType::int64) return unary_of<int64_t>(p, "unary_s64", options);
  const auto run = [p](const KernelArgs& args) {
    for_same_shape<uint8_t>(args, p.input, p.output, [](const uint8_t* x, uint8_t* y, int64_t n) {
      for (int64_t i = 0; i < n; ++i) y[i] = x[i] == 0;
    });
  };
  return make_kernel(select_kernel("elementwise", "logical_not", options), 0, run, 0, {true});
}

std::unique_ptr<PreparedKernel> prepare_binary_integers(const BinaryProblem& p, const KernelOptions& options) {
  switch (p.a.dtype) {
    case DType::int32:
      return binary_of<int32_t>(p, number_run<int32_t>(p.function), "binary_s32", options);
    case DType::int64:
      return binary_of<int64_t>(p, number_run<int64_t>(p.function), "binary_s64", options);
    default:
      return binary_of<uint8_t>(p, bool_run(p.function), "binary_bool", options);
  }
}

}  // namespace edgelane
