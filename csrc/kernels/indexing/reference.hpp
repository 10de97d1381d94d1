// What gathers and scatters mean, one element at a time; never optimised.
#pragma once

#include <cstring>
#include <type_traits>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/indexing/scatter_reduction.hpp"

namespace edgelane::reference {

inline int64_t place_in_axis(const TensorDesc& indices, const void* data, const int* at, int64_t size) {
  const int64_t offset = ElementOffsets(indices)(at, indices.rank);
  int64_t i =
      indices.dtype == DType::int64 ? static_cast<const int64_t*>(data)[offset] : static_cast<const int32_t*>(data)[offset];
  if (i < 0) i += size;
  return i < 0 ? 0 : i >= size ? size - 1 : i;
}

inline void move_element(const TensorDesc& from, const void* x, const int* x_at, const TensorDesc& to, void* y, const int* y_at) {
  const size_t bytes = dtype_bytes(to.dtype);
  std::memcpy(static_cast<char*>(y) + ElementOffsets(to)(y_at, to.rank) * static_cast<int64_t>(bytes),
              static_cast<const char*>(x) + ElementOffsets(from)(x_at, from.rank) * static_cast<int64_t>(bytes), bytes);
}

inline void gather(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int axis, const void* data,
                   const void* index_data, void* out) {
  int i[kMaxRank] = {};
  do {
    int at[kMaxRank] = {};
    for (int a = 0; a < axis; ++a) at[a] = i[a];
    at[axis] = static_cast<int>(place_in_axis(indices, index_data, i + axis, x.dims[axis]));
    for (int a = axis + 1; a < x.rank; ++a) at[a] = i[a - 1 + indices.rank];
    move_element(x, data, at, y, out, i);
  } while (next_index(i, y.dims, y.rank));
  fill_borders(out, y);
}

inline void gather_elements(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int axis, const void* data,
                            const void* index_data, void* out) {
  int i[kMaxRank] = {};
  do {
    int at[kMaxRank] = {};
    for (int a = 0; a < x.rank; ++a) at[a] = i[a];
    at[axis] = static_cast<int>(place_in_axis(indices, index_data, i, x.dims[axis]));
    move_element(x, data, at, y, out, i);
  } while (next_index(i, y.dims, y.rank));
  fill_borders(out, y);
}

inline void gather_nd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int batch_dims, const void* data,
                      const void* index_data, void* out) {
  const int lead = indices.rank - 1, tuple = indices.dims[lead];
  int i[kMaxRank] = {};
  do {
    int at[kMaxRank] = {};
    for (int a = 0; a < batch_dims; ++a) at[a] = i[a];
    for (int a = 0; a < tuple; ++a) {
      int index_at[kMaxRank] = {};
      for (int l = 0; l < lead; ++l) index_at[l] = i[l];
      index_at[lead] = a;
      at[batch_dims + a] = static_cast<int>(place_in_axis(indices, index_data, index_at, x.dims[batch_dims + a]));
    }
    for (int a = batch_dims + tuple; a < x.rank; ++a) at[a] = i[a - batch_dims - tuple + lead];
    move_element(x, data, at, y, out, i);
  } while (next_index(i, y.dims, y.rank));
  fill_borders(out, y);
}

template <class T>
T scatter_value(ScatterReduction reduction, T old, T update) {
  using Wrapping = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;
  switch (reduction) {
    case ScatterReduction::none:
      return update;
    case ScatterReduction::add:
      return static_cast<T>(static_cast<Wrapping>(old) + static_cast<Wrapping>(update));
    case ScatterReduction::mul:
      return static_cast<T>(static_cast<Wrapping>(old) * static_cast<Wrapping>(update));
    case ScatterReduction::max:
      return old > update ? old : update;
    case ScatterReduction::min:
      return old < update ? old : update;
  }
  return update;
}

inline void scatter_element(const TensorDesc& updates, const void* data, const int* from, const TensorDesc& y, void* out,
                            const int* to, ScatterReduction reduction) {
  if (reduction == ScatterReduction::none) return move_element(updates, data, from, y, out, to);
  const int64_t a = ElementOffsets(updates)(from, updates.rank), b = ElementOffsets(y)(to, y.rank);
  const auto update = [&](auto value) {
    using T = decltype(value);
    T& old = static_cast<T*>(out)[b];
    old = scatter_value(reduction, old, static_cast<const T*>(data)[a]);
  };
  if (y.dtype == DType::float32) return update(float{});
  if (y.dtype == DType::int32) return update(int32_t{});
  update(int64_t{});
}

inline void copy_elements(const TensorDesc& x, const void* data, const TensorDesc& y, void* out) {
  int i[kMaxRank] = {};
  do {
    move_element(x, data, i, y, out, i);
  } while (next_index(i, y.dims, y.rank));
  fill_borders(out, y);
}

inline void scatter_elements(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& updates, const TensorDesc& y,
                             int axis, ScatterReduction reduction, const void* data, const void* index_data,
                             const void* update_data, void* out) {
  copy_elements(x, data, y, out);
  int i[kMaxRank] = {};
  do {
    int at[kMaxRank] = {};
    for (int a = 0; a < y.rank; ++a) at[a] = i[a];
    at[axis] = static_cast<int>(place_in_axis(indices, index_data, i, y.dims[axis]));
    scatter_element(updates, update_data, i, y, out, at, reduction);
  } while (next_index(i, indices.dims, indices.rank));
}

inline void scatter_nd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& updates, const TensorDesc& y,
                       ScatterReduction reduction, const void* data, const void* index_data, const void* update_data, void* out) {
  copy_elements(x, data, y, out);
  const int lead = indices.rank - 1, tuple = indices.dims[lead];
  int i[kMaxRank] = {};
  do {
    int at[kMaxRank] = {};
    for (int a = 0; a < tuple; ++a) {
      int index_at[kMaxRank] = {};
      for (int l = 0; l < lead; ++l) index_at[l] = i[l];
      index_at[lead] = a;
      at[a] = static_cast<int>(place_in_axis(indices, index_data, index_at, y.dims[a]));
    }
    for (int a = tuple; a < y.rank; ++a) at[a] = i[a - tuple + lead];
    scatter_element(updates, update_data, i, y, out, at, reduction);
  } while (next_index(i, updates.dims, updates.rank));
}

}  // namespace edgelane::reference
