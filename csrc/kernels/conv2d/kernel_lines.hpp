// Turns the lines of kernels.inc that belong to one family and instruction set into definitions. A source file defines
// EDGELANE_LINE_<family>_<isa> as EDGELANE_DEFINE_STRIP, EDGELANE_PATH as its Path, and includes this file once.
#include "kernels/line.hpp"

#define EDGELANE_IS_EDGELANE_DEFINE_STRIP ~, EDGELANE_DEFINE_STRIP
#define EDGELANE_DEFINE_STRIP(name, isa, method, block_oc, vectors)          \
  extern const StripKernel name;                                             \
  const StripKernel name = {#name,                                           \
                            Isa::isa,                                        \
                            StripMethod::method,                             \
                            EDGELANE_PATH::kForm,                            \
                            block_oc,                                        \
                            EDGELANE_PATH::Float::width,                     \
                            vectors,                                         \
                            EDGELANE_PATH::kInputBias,                       \
                            &run_##method<EDGELANE_PATH, block_oc, vectors>, \
                            &copy_every_second<EDGELANE_PATH::Float::Int>};

namespace edgelane {
#define EDGELANE_KERNEL(family, name, isa, method, block_oc, vectors) \
  EDGELANE_LINE(family##_##isa)(name, isa, method, block_oc, vectors)
#include "kernels/conv2d/kernels.inc"
#undef EDGELANE_KERNEL
}  // namespace edgelane
