// Between a caller's row-major arrays and the activations of formats/layout.hpp.
#pragma once

#include "core/thread_pool.hpp"
#include "formats/tensor.hpp"

namespace edgelane {

// `array` holds the elements in row-major order, int8 ones unbiased and bools as any bytes, of which all but 0 are true, at any
// address. `activation` is written whole, border included.
void import_array(const TensorDesc& desc, const void* array, void* activation, ThreadPool& pool) noexcept;

// The inverse.
void export_array(const TensorDesc& desc, const void* activation, void* array, ThreadPool& pool) noexcept;

}  // namespace edgelane
