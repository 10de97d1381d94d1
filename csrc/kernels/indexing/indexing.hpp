// Steps that read indices while they run: gathers and scatters of any dtype, planar or plain on every side but that of the
// indices. Indices are int32 or int64 and plain; -1 is the last element, and an index that lies outside all the same is taken as
// the nearest that does not, so that no input can make a kernel touch what is not its own.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/indexing/scatter_reduction.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// inputs: {x, indices}; y has x's shape with that of the indices in the place of `axis`.
std::unique_ptr<PreparedKernel> prepare_gather(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int axis,
                                               const KernelOptions& options);
// inputs: {x, indices}; y[i] = x[i with indices[i] along `axis`], of the shape of the indices.
std::unique_ptr<PreparedKernel> prepare_gather_elements(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y,
                                                        int axis, const KernelOptions& options);
// inputs: {x, indices}; the last axis of the indices holds places in the axes of x from batch_dims on.
std::unique_ptr<PreparedKernel> prepare_gather_nd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y,
                                                  int batch_dims, const KernelOptions& options);
// inputs: {x, indices, updates}; y is x but for y[i with indices[i] along `axis`], which take updates[i] in row-major order.
std::unique_ptr<PreparedKernel> prepare_scatter_elements(const TensorDesc& x, const TensorDesc& indices,
                                                         const TensorDesc& updates, const TensorDesc& y, int axis,
                                                         ScatterReduction reduction, const KernelOptions& options);
// inputs: {x, indices, updates}; y is x but for the slices that the tuples along the last axis of the indices name, which take
// those of the updates in row-major order.
std::unique_ptr<PreparedKernel> prepare_scatter_nd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& updates,
                                                   const TensorDesc& y, ScatterReduction reduction, const KernelOptions& options);

}  // namespace edgelane
