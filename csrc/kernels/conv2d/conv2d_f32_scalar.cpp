// float32 strip convolution: vectors of four floats that a compiler may vectorise for its baseline.
#include "kernels/simd/vec_scalar.hpp"
//
#include "kernels/conv2d/staged.hpp"

#define EDGELANE_PATH F32Path<VecF32Scalar>
#define EDGELANE_LINE_conv2d_f32_scalar EDGELANE_DEFINE_STRIP
#include "kernels/conv2d/kernel_lines.hpp"
