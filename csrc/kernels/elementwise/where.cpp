// prepare_where: a selection moves elements and computes nothing, so that only their size matters.
#include "kernels/check.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/strided.hpp"

namespace edgelane {
namespace {

template <class T>
void run_where(const StridedWalk<4>& walk, const KernelArgs& args) noexcept {
  const auto* condition = static_cast<const uint8_t*>(args.inputs[0]);
  const T *a = static_cast<const T*>(args.inputs[1]), *b = static_cast<const T*>(args.inputs[2]);
  T* y = static_cast<T*>(args.output);
  const auto [step_y, step_c, step_a, step_b] = walk.strides();
  walk(args, [&, step_y = step_y, step_c = step_c, step_a = step_a, step_b = step_b](const auto& at, int64_t n) {
    if (step_y != 1) {  // a channel of int8 planes
      for (int64_t i = 0; i < n; ++i)
        y[at[0] + i * step_y] = condition[at[1] + i * step_c] != 0 ? a[at[2] + i * step_a] : b[at[3] + i * step_b];
      return;
    }
    constexpr int64_t kBlock = 256;
    uint8_t c_block[kBlock];
    T a_block[kBlock], b_block[kBlock];
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      const uint8_t* c = side_by_side(condition + at[1] + first * step_c, step_c, count, c_block);
      const T* from_a = side_by_side(a + at[2] + first * step_a, step_a, count, a_block);
      const T* from_b = side_by_side(b + at[3] + first * step_b, step_b, count, b_block);
      for (int64_t i = 0; i < count; ++i) {
        const T va = from_a[i], vb = from_b[i];  // both are read, so that the loop has no branch
        y[at[0] + first + i] = c[i] != 0 ? va : vb;
      }
    }
  });
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_where(const WhereProblem& p, const KernelOptions& options) {
  check(p.condition.dtype == DType::boolean, "where", "expected a condition of bool, found " + shape_text(p.condition));
  for (const TensorDesc* t : {&p.a, &p.b}) {
    check(t->dtype == p.output.dtype && (!t->int8() || same_quant(*t, p.output)), "where",
          "expected the dtype and scale of " + shape_text(p.output) + ", found " + shape_text(*t));
  }
  for (const TensorDesc* t : {&p.condition, &p.a, &p.b}) check_broadcast("where", *t, p.output);
  const StridedWalk<4> walk({&p.output, &p.condition, &p.a, &p.b});
  const bool a = replaceable(p.a, p.output), b = replaceable(p.b, p.output);
  switch (dtype_bytes(p.output.dtype)) {
    case 1:
      return make_kernel(select_kernel("elementwise", "where_x8", options), 0,
                         [walk](const KernelArgs& args) { run_where<uint8_t>(walk, args); }, 0, {false, a, b});
    case 4:
      return make_kernel(select_kernel("elementwise", "where_x32", options), 0,
                         [walk](const KernelArgs& args) { run_where<uint32_t>(walk, args); }, 0, {false, a, b});
    default:
      return make_kernel(select_kernel("elementwise", "where_x64", options), 0,
                         [walk](const KernelArgs& args) { run_where<uint64_t>(walk, args); }, 0, {false, a, b});
  }
}

}  // namespace edgelane
