// Turns the lines of kernels.inc that belong to one family and instruction set into definitions. A source file defines
// EDGELANE_LINE_<family>_<isa> as EDGELANE_DEFINE_LINEAR, EDGELANE_PATH as its Path, and includes this file once.
#define EDGELANE_SKIP_LINE(...)
#define EDGELANE_DEFINE_LINEAR(name, isa, rows, vectors)                                                     \
  extern const LinearKernel name;                                                                            \
  const LinearKernel name = {#name, Isa::isa, EDGELANE_PATH::kInt8, (vectors) * EDGELANE_PATH::Float::width, \
                             &run_gemm<EDGELANE_PATH, rows, vectors>};

#ifndef EDGELANE_LINE_linear_f32_scalar
#define EDGELANE_LINE_linear_f32_scalar EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_linear_f32_avx2
#define EDGELANE_LINE_linear_f32_avx2 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_linear_f32_avx512
#define EDGELANE_LINE_linear_f32_avx512 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_linear_s8_scalar
#define EDGELANE_LINE_linear_s8_scalar EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_linear_s8_avx2
#define EDGELANE_LINE_linear_s8_avx2 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_linear_s8_avx512
#define EDGELANE_LINE_linear_s8_avx512 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_linear_s8_avx512_vnni
#define EDGELANE_LINE_linear_s8_avx512_vnni EDGELANE_SKIP_LINE
#endif

namespace edgelane {
#define EDGELANE_KERNEL(family, name, isa, rows, vectors) EDGELANE_LINE_##family##_##isa(name, isa, rows, vectors)
#include "kernels/linear/kernels.inc"
#undef EDGELANE_KERNEL
}  // namespace edgelane
