// gather, gather_elements and gather_nd: places are read one by one, what lies behind each is copied in runs.
#include "kernels/border.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/indexing/box.hpp"
#include "kernels/indexing/indexing.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

// Rows of y along the last axis of the indices; behind each of their elements is a box of x.
template <class T>
class Gather {
 public:
  Gather(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int axis)
      : output_(y), from_(x), to_(y), read_(indices), box_(x, axis + 1, y), axis_(axis), size_(x.dims[axis]) {
    if (indices.rank > 0) {
      row_axis_ = axis + indices.rank - 1;
      row_ = y.dims[row_axis_];
    }
    outer_ = row_axis_ >= 0 ? row_axis_ : axis;
    rows_ = product(y.dims, y.dims + outer_);
    index_rows_ = product(y.dims + axis, y.dims + outer_);
  }

  void operator()(const KernelArgs& args) const noexcept {
    const T* x = static_cast<const T*>(args.inputs[0]) + from_.base();
    T* y = static_cast<T*>(args.output) + to_.base();
    parallel_ranges(*args.pool, rows_ * row_, box_.elements(), [&](int64_t begin, int64_t end) {
      int64_t row = begin / row_, k = begin % row_;
      int index[kMaxRank] = {};
      unravel(row, output_.dims, outer_, index);
      for (int64_t left = end - begin; left > 0; ++row, k = 0) {
        int64_t from = 0, to = 0;
        for (int a = 0; a < axis_; ++a) from += from_.at(a, index[a]);
        for (int a = 0; a < outer_; ++a) to += to_.at(a, index[a]);
        const int64_t first = row % index_rows_ * row_, stop = std::min(row_, k + left);
        left -= stop - k;
        for (; k < stop; ++k) {
          const int64_t place = read_(args.inputs[1], first + k, size_);
          box_.copy(x + from + from_.at(axis_, place), y + to + (row_axis_ >= 0 ? to_.at(row_axis_, k) : 0));
        }
        next_index(index, output_.dims, outer_);
      }
    });
    fill_borders(args.output, output_);
  }

 private:
  TensorDesc output_;
  ElementOffsets from_, to_;
  IndexReader read_;
  Box box_;
  int axis_, row_axis_ = -1, outer_ = 0;  // -1: the index is a scalar; outer_: axes of y outside of a row
  int64_t size_, row_ = 1, rows_ = 1, index_rows_ = 1;
};

template <class T>
class GatherElements {
 public:
  GatherElements(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int axis)
      : output_(y), from_(x), to_(y), read_(indices), axis_(axis), last_(y.rank - 1), size_(x.dims[axis]) {}

  void operator()(const KernelArgs& args) const noexcept {
    const T* x = static_cast<const T*>(args.inputs[0]) + from_.base();
    T* y = static_cast<T*>(args.output) + to_.base();
    const int64_t row = output_.dims[last_];
    parallel_ranges(*args.pool, output_.elements() / row, row, [&](int64_t begin, int64_t end) {
      int index[kMaxRank] = {};
      unravel(begin, output_.dims, last_, index);
      for (int64_t i = begin; i < end; ++i) {
        int64_t from = 0, to = 0;
        for (int a = 0; a < last_; ++a) {
          if (a != axis_) from += from_.at(a, index[a]);
          to += to_.at(a, index[a]);
        }
        for (int64_t k = 0; k < row; ++k) {
          const int64_t place = from_.at(axis_, read_(args.inputs[1], i * row + k, size_));
          y[to + to_.at(last_, k)] = x[from + place + (axis_ == last_ ? 0 : from_.at(last_, k))];
        }
        next_index(index, output_.dims, last_);
      }
    });
    fill_borders(args.output, output_);
  }

 private:
  TensorDesc output_;
  ElementOffsets from_, to_;
  IndexReader read_;
  int axis_, last_;
  int64_t size_;
};

template <class T>
class GatherNd {
 public:
  GatherNd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int batch_dims)
      : input_(x),
        output_(y),
        from_(x),
        to_(y),
        read_(indices),
        lead_(indices.rank - 1),
        tuple_(indices.dims[indices.rank - 1]),
        batch_dims_(batch_dims),
        box_(x, batch_dims + tuple_, y) {}

  void operator()(const KernelArgs& args) const noexcept {
    const T* x = static_cast<const T*>(args.inputs[0]) + from_.base();
    T* y = static_cast<T*>(args.output) + to_.base();
    parallel_ranges(*args.pool, product(output_.dims, output_.dims + lead_), box_.elements(), [&](int64_t begin, int64_t end) {
      int index[kMaxRank] = {};
      unravel(begin, output_.dims, lead_, index);
      for (int64_t i = begin; i < end; ++i) {
        int64_t from = 0, to = 0;
        for (int a = 0; a < batch_dims_; ++a) from += from_.at(a, index[a]);
        for (int a = 0; a < tuple_; ++a) {
          const int axis = batch_dims_ + a;
          from += from_.at(axis, read_(args.inputs[1], i * tuple_ + a, input_.dims[axis]));
        }
        for (int a = 0; a < lead_; ++a) to += to_.at(a, index[a]);
        box_.copy(x + from, y + to);
        next_index(index, output_.dims, lead_);
      }
    });
    fill_borders(args.output, output_);
  }

 private:
  TensorDesc input_, output_;
  ElementOffsets from_, to_;
  IndexReader read_;
  int lead_, tuple_, batch_dims_;  // axes of the indices without the last one, its size
  Box box_;
};

// A kernel that moves elements of y's size.
template <template <class> class Kernel>
std::unique_ptr<PreparedKernel> make_gather(const char* operation, const TensorDesc& x, const TensorDesc& indices,
                                            const TensorDesc& y, int attribute, const KernelOptions& options) {
  const KernelEntry& entry = select_kernel("indexing", operation, options);
  switch (dtype_bytes(y.dtype)) {
    case 1:
      return make_kernel(entry, 0, Kernel<uint8_t>(x, indices, y, attribute));
    case 4:
      return make_kernel(entry, 0, Kernel<uint32_t>(x, indices, y, attribute));
    default:
      return make_kernel(entry, 0, Kernel<uint64_t>(x, indices, y, attribute));
  }
}

void check_gather(const char* step, const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y) {
  check_indices(step, indices);
  check(x.dtype == y.dtype && (!x.int8() || same_quant(x, y)), step,
        "expected equal dtypes and scales, found " + shape_text(x) + " and " + shape_text(y));
}

void check_shape(const char* step, const std::vector<int>& expected, const TensorDesc& x, const TensorDesc& indices,
                 const TensorDesc& y) {
  check(std::equal(expected.begin(), expected.end(), y.dims, y.dims + y.rank), step,
        shape_text(x) + " at " + shape_text(indices) + " does not give " + shape_text(y));
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_gather(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y, int axis,
                                               const KernelOptions& options) {
  constexpr const char* kStep = "gather";
  check_gather(kStep, x, indices, y);
  check(axis >= 0 && axis < x.rank, kStep, "axis " + std::to_string(axis) + " of " + shape_text(x));
  std::vector<int> dims(x.dims, x.dims + axis);
  dims.insert(dims.end(), indices.dims, indices.dims + indices.rank);
  dims.insert(dims.end(), x.dims + axis + 1, x.dims + x.rank);
  check_shape(kStep, dims, x, indices, y);
  return make_gather<Gather>("gather_any", x, indices, y, axis, options);
}

std::unique_ptr<PreparedKernel> prepare_gather_elements(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y,
                                                        int axis, const KernelOptions& options) {
  constexpr const char* kStep = "gather_elements";
  check_gather(kStep, x, indices, y);
  check_same_shape(kStep, indices, y);
  check(axis >= 0 && axis < x.rank && x.rank == y.rank, kStep, "axis " + std::to_string(axis) + " of " + shape_text(x));
  for (int a = 0; a < x.rank; ++a)
    check(a == axis || y.dims[a] <= x.dims[a], kStep, shape_text(y) + " reaches beyond " + shape_text(x));
  return make_gather<GatherElements>("gather_elements_any", x, indices, y, axis, options);
}

std::unique_ptr<PreparedKernel> prepare_gather_nd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& y,
                                                  int batch_dims, const KernelOptions& options) {
  constexpr const char* kStep = "gather_nd";
  check_gather(kStep, x, indices, y);
  check(indices.rank >= 1 && batch_dims >= 0 && batch_dims < indices.rank &&
            int64_t{batch_dims} + indices.dims[indices.rank - 1] <= x.rank,
        kStep, shape_text(indices) + " names more axes than " + shape_text(x) + " has");
  for (int a = 0; a < batch_dims; ++a) {
    check(x.dims[a] == indices.dims[a], kStep,
          "expected equal batch dimensions, found " + shape_text(x) + " and " + shape_text(indices));
  }
  std::vector<int> dims(indices.dims, indices.dims + indices.rank - 1);
  dims.insert(dims.end(), x.dims + batch_dims + indices.dims[indices.rank - 1], x.dims + x.rank);
  check_shape(kStep, dims, x, indices, y);
  return make_gather<GatherNd>("gather_nd_any", x, indices, y, batch_dims, options);
}

}  // namespace edgelane
