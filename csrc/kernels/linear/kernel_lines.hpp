// Turns the lines of kernels.inc that belong to one family and instruction set into definitions. A source file defines
// EDGELANE_LINE_<family>_<isa> as EDGELANE_DEFINE_LINEAR, EDGELANE_PATH as its Path, and includes this file once.
#include "kernels/line.hpp"

#define EDGELANE_IS_EDGELANE_DEFINE_LINEAR ~, EDGELANE_DEFINE_LINEAR
#define EDGELANE_DEFINE_LINEAR(name, isa, rows, vectors)              \
  extern const LinearKernel name;                                     \
  const LinearKernel name = {#name,                                   \
                             Isa::isa,                                \
                             EDGELANE_PATH::kInt8,                    \
                             (vectors) * EDGELANE_PATH::Float::width, \
                             EDGELANE_PATH::kStepBytes,               \
                             EDGELANE_PATH::kInputBias,               \
                             &run_gemm<EDGELANE_PATH, rows, vectors>};

namespace edgelane {
#define EDGELANE_KERNEL(family, name, isa, rows, vectors) EDGELANE_LINE(family##_##isa)(name, isa, rows, vectors)
#include "kernels/linear/kernels.inc"
#undef EDGELANE_KERNEL
}  // namespace edgelane
