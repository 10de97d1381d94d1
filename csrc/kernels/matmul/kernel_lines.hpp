// Turns the lines of kernels.inc that belong to one instruction set into definitions. A source file defines
// EDGELANE_LINE_<dtype>_<isa> as EDGELANE_DEFINE_MATMUL and EDGELANE_PATH_<dtype> as its Path for both dtypes, EDGELANE_WORDS as
// the integer vector that copies elements, and includes this file once.
#include "kernels/line.hpp"

#define EDGELANE_IS_EDGELANE_DEFINE_MATMUL ~, EDGELANE_DEFINE_MATMUL
#define EDGELANE_DEFINE_MATMUL(name, isa, dtype, rows, vectors)                 \
  extern const MatmulKernel name;                                               \
  const MatmulKernel name = {#name,                                             \
                             Isa::isa,                                          \
                             rows,                                              \
                             vectors,                                           \
                             EDGELANE_WORDS::width,                             \
                             &run_matmul<EDGELANE_PATH_##dtype, rows, vectors>, \
                             &pack_columns<EDGELANE_WORDS>};

namespace edgelane {
#define EDGELANE_KERNEL(family, name, isa, dtype, rows, vectors) EDGELANE_LINE(dtype##_##isa)(name, isa, dtype, rows, vectors)
#include "kernels/matmul/kernels.inc"
#undef EDGELANE_KERNEL
}  // namespace edgelane
