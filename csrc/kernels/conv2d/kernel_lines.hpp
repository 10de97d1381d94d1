// Turns the lines of kernels.inc that belong to one family and instruction set into definitions. A source file defines
// EDGELANE_LINE_<family>_<isa> as EDGELANE_DEFINE_STRIP, EDGELANE_PATH as its Path, and includes this file once.
#define EDGELANE_SKIP_LINE(...)
#define EDGELANE_DEFINE_STRIP(name, isa, block_oc, vectors, use) \
  extern const StripKernel name;                                 \
  const StripKernel name = {#name,                               \
                            Isa::isa,                            \
                            EDGELANE_PATH::kForm,                \
                            block_oc,                            \
                            EDGELANE_PATH::Float::width,         \
                            vectors,                             \
                            kFor_##use,                          \
                            &run_strip<EDGELANE_PATH, block_oc, vectors>};

#ifndef EDGELANE_LINE_conv2d_f32_scalar
#define EDGELANE_LINE_conv2d_f32_scalar EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_conv2d_f32_avx2
#define EDGELANE_LINE_conv2d_f32_avx2 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_conv2d_f32_avx512
#define EDGELANE_LINE_conv2d_f32_avx512 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_conv2d_s8_scalar
#define EDGELANE_LINE_conv2d_s8_scalar EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_conv2d_s8_avx2
#define EDGELANE_LINE_conv2d_s8_avx2 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_conv2d_s8_avx512
#define EDGELANE_LINE_conv2d_s8_avx512 EDGELANE_SKIP_LINE
#endif
#ifndef EDGELANE_LINE_conv2d_s8_avx512_vnni
#define EDGELANE_LINE_conv2d_s8_avx512_vnni EDGELANE_SKIP_LINE
#endif

namespace edgelane {
namespace {
constexpr bool kFor_sparse [[maybe_unused]] = false;
constexpr bool kFor_dense [[maybe_unused]] = true;
}  // namespace
#define EDGELANE_KERNEL(family, name, isa, block_oc, vectors, use) \
  EDGELANE_LINE_##family##_##isa(name, isa, block_oc, vectors, use)
#include "kernels/conv2d/kernels.inc"
#undef EDGELANE_KERNEL
}  // namespace edgelane
