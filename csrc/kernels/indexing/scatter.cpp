// scatter_elements and scatter_nd: a copy of x, then the updates in row-major order. Threads share the work by places in y and
// not by updates, so that equal indices meet in the same order for any number of them.
#include <type_traits>
#include <utility>

#include "kernels/function_kernel.hpp"
#include "kernels/indexing/box.hpp"
#include "kernels/indexing/indexing.hpp"
#include "kernels/movement/movement.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

// T is unsigned for integers that are added or multiplied: they wrap around.
struct Replace {
  template <class T>
  static T apply(T, T update) {
    return update;
  }
};
struct Add {
  template <class T>
  static T apply(T old, T update) {
    return old + update;
  }
};
struct Multiply {
  template <class T>
  static T apply(T old, T update) {
    return old * update;
  }
};
struct Max {
  template <class T>
  static T apply(T old, T update) {
    return old > update ? old : update;
  }
};
struct Min {
  template <class T>
  static T apply(T old, T update) {
    return old < update ? old : update;
  }
};

// y becomes x; nothing to do where it took x's place.
class CopyOfInput {
 public:
  CopyOfInput(const TensorDesc& x, const TensorDesc& y, const KernelOptions& options)
      : copy_(prepare_reshape(x, y, {options.isa, "", options.threads})) {}
  void run(const KernelArgs& args) const noexcept {
    if (args.inputs[0] != args.output) copy_->run({args.inputs, args.output, nullptr, args.pool});
  }

 private:
  std::shared_ptr<const PreparedKernel> copy_;
};

template <class T, class Update>
class ScatterElements {
 public:
  ScatterElements(CopyOfInput copy, const TensorDesc& indices, const TensorDesc& updates, const TensorDesc& y, int axis)
      : copy_(std::move(copy)),
        indices_(indices),
        from_(updates),
        to_(y),
        read_(indices),
        axis_(axis),
        last_(indices.rank - 1),
        size_(y.dims[axis]) {}

  void operator()(const KernelArgs& args) const noexcept {
    copy_.run(args);
    const T* updates = static_cast<const T*>(args.inputs[2]) + from_.base();
    T* y = static_cast<T*>(args.output) + to_.base();
    // What differs before the axis never meets.
    const int64_t row = indices_.dims[last_], outer = product(indices_.dims, indices_.dims + axis_);
    const int64_t rows = indices_.elements() / row / outer;
    if (axis_ == last_) {
      parallel_ranges(*args.pool, outer, row, [&](int64_t begin, int64_t end) { write_rows(args, updates, y, begin, end); });
    } else {
      parallel_ranges(*args.pool, outer, rows * row,
                      [&](int64_t begin, int64_t end) { write_rows(args, updates, y, begin * rows, end * rows); });
    }
  }

 private:
  void write_rows(const KernelArgs& args, const T* updates, T* y, int64_t begin, int64_t end) const {
    const int64_t row = indices_.dims[last_];
    int index[kMaxRank] = {};
    unravel(begin, indices_.dims, last_, index);
    for (int64_t i = begin; i < end; ++i) {
      int64_t from = 0, to = 0;
      for (int a = 0; a < last_; ++a) {
        from += from_.at(a, index[a]);
        if (a != axis_) to += to_.at(a, index[a]);
      }
      for (int64_t k = 0; k < row; ++k) {
        const int64_t place = to_.at(axis_, read_(args.inputs[1], i * row + k, size_));
        T& old = y[to + place + (axis_ == last_ ? 0 : to_.at(last_, k))];
        old = Update::apply(old, updates[from + from_.at(last_, k)]);
      }
      next_index(index, indices_.dims, last_);
    }
  }

  CopyOfInput copy_;
  TensorDesc indices_;
  ElementOffsets from_, to_;
  IndexReader read_;
  int axis_, last_;
  int64_t size_;
};

template <class T, class Update>
class ScatterNd {
 public:
  ScatterNd(CopyOfInput copy, const TensorDesc& indices, const TensorDesc& updates, const TensorDesc& y)
      : copy_(std::move(copy)),
        updates_(updates),
        output_(y),
        from_(updates),
        to_(y),
        read_(indices),
        lead_(indices.rank - 1),
        tuple_(indices.dims[lead_]),
        box_(updates, lead_, y) {}

  void operator()(const KernelArgs& args) const noexcept {
    copy_.run(args);
    const int64_t slices = product(output_.dims, output_.dims + tuple_);
    // Every task reads all indices and writes to a range of slices of its own.
    const int64_t tasks = std::min({slices, int64_t{args.pool->threads()}, wanted_tasks(*args.pool, updates_.elements())});
    if (tasks <= 1) return write_slices(args, 0, slices);
    args.pool->parallel_for(static_cast<int>(tasks),
                            [&](int task, int) { write_slices(args, slices * task / tasks, slices * (task + 1) / tasks); });
  }

 private:
  void write_slices(const KernelArgs& args, int64_t begin, int64_t end) const {
    const T* updates = static_cast<const T*>(args.inputs[2]) + from_.base();
    T* y = static_cast<T*>(args.output) + to_.base();
    int index[kMaxRank] = {};
    int64_t i = 0;
    do {
      int64_t slice = 0, to = 0, from = 0;
      for (int a = 0; a < tuple_; ++a) {
        const int64_t place = read_(args.inputs[1], i * tuple_ + a, output_.dims[a]);
        slice = slice * output_.dims[a] + place;
        to += to_.at(a, place);
      }
      ++i;
      if (slice < begin || slice >= end) continue;
      for (int a = 0; a < lead_; ++a) from += from_.at(a, index[a]);
      if constexpr (std::is_same_v<Update, Replace>) {
        box_.copy(updates + from, y + to);
      } else {
        box_.for_runs([&](int64_t a, int64_t b, int64_t n, int64_t from_step, int64_t to_step) {
          const T* u = updates + from + a;
          T* old = y + to + b;
          for (int64_t k = 0; k < n; ++k) old[k * to_step] = Update::apply(old[k * to_step], u[k * from_step]);
        });
      }
    } while (next_index(index, updates_.dims, lead_));
  }

  CopyOfInput copy_;
  TensorDesc updates_, output_;
  ElementOffsets from_, to_;
  IndexReader read_;
  int lead_, tuple_;  // axes of the indices without the last one, its size
  Box box_;
};

// make(T, Update) for what the reduction does to elements of the dtype.
template <class Make>
std::unique_ptr<PreparedKernel> for_update(DType dtype, ScatterReduction reduction, const Make& make) {
  const auto numbers = [&](auto update, auto wraps) {
    constexpr bool kWraps = decltype(wraps)::value;
    switch (dtype) {
      case DType::float32:
        return make(float{}, update);
      case DType::int32:
        return make(std::conditional_t<kWraps, uint32_t, int32_t>{}, update);
      default:
        return make(std::conditional_t<kWraps, uint64_t, int64_t>{}, update);
    }
  };
  switch (reduction) {
    case ScatterReduction::add:
      return numbers(Add{}, std::true_type{});
    case ScatterReduction::mul:
      return numbers(Multiply{}, std::true_type{});
    case ScatterReduction::max:
      return numbers(Max{}, std::false_type{});
    case ScatterReduction::min:
      return numbers(Min{}, std::false_type{});
    case ScatterReduction::none:
      break;
  }
  switch (dtype_bytes(dtype)) {
    case 1:
      return make(uint8_t{}, Replace{});
    case 4:
      return make(uint32_t{}, Replace{});
    default:
      return make(uint64_t{}, Replace{});
  }
}

void check_scatter(const char* step, const TensorDesc& x, const TensorDesc& indices, const TensorDesc& updates,
                   const TensorDesc& y, ScatterReduction reduction) {
  check_indices(step, indices);
  check_same_shape(step, x, y);
  for (const TensorDesc* t : {&x, &updates}) {
    check(t->dtype == y.dtype && (!y.int8() || same_quant(*t, y)), step,
          "expected equal dtypes and scales, found " + shape_text(*t) + " and " + shape_text(y));
  }
  check(reduction == ScatterReduction::none || y.dtype == DType::float32 || y.dtype == DType::int32 || y.dtype == DType::int64,
        step, "expected numbers to reduce, found " + shape_text(y));
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_scatter_elements(const TensorDesc& x, const TensorDesc& indices,
                                                         const TensorDesc& updates, const TensorDesc& y, int axis,
                                                         ScatterReduction reduction, const KernelOptions& options) {
  constexpr const char* kStep = "scatter_elements";
  check_scatter(kStep, x, indices, updates, y, reduction);
  check_same_shape(kStep, indices, updates);
  check(axis >= 0 && axis < y.rank && updates.rank == y.rank, kStep, "axis " + std::to_string(axis) + " of " + shape_text(y));
  for (int a = 0; a < y.rank; ++a)
    check(a == axis || updates.dims[a] <= y.dims[a], kStep, shape_text(updates) + " reaches beyond " + shape_text(y));
  const KernelEntry& entry = select_kernel("indexing", "scatter_elements_any", options);
  const CopyOfInput copy(x, y, options);
  return for_update(y.dtype, reduction, [&](auto value, auto update) {
    using Kernel = ScatterElements<decltype(value), decltype(update)>;
    return make_kernel(entry, 0, Kernel(copy, indices, updates, y, axis), 0, {same_memory(x, y)});
  });
}

std::unique_ptr<PreparedKernel> prepare_scatter_nd(const TensorDesc& x, const TensorDesc& indices, const TensorDesc& updates,
                                                   const TensorDesc& y, ScatterReduction reduction,
                                                   const KernelOptions& options) {
  constexpr const char* kStep = "scatter_nd";
  check_scatter(kStep, x, indices, updates, y, reduction);
  check(indices.rank >= 1 && indices.dims[indices.rank - 1] <= y.rank, kStep,
        shape_text(indices) + " names more axes than " + shape_text(y) + " has");
  std::vector<int> dims(indices.dims, indices.dims + indices.rank - 1);
  dims.insert(dims.end(), y.dims + indices.dims[indices.rank - 1], y.dims + y.rank);
  check(std::equal(dims.begin(), dims.end(), updates.dims, updates.dims + updates.rank), kStep,
        shape_text(updates) + " does not fit " + shape_text(y) + " at " + shape_text(indices));
  const KernelEntry& entry = select_kernel("indexing", "scatter_nd_any", options);
  const CopyOfInput copy(x, y, options);
  return for_update(y.dtype, reduction, [&](auto value, auto update) {
    using Kernel = ScatterNd<decltype(value), decltype(update)>;
    return make_kernel(entry, 0, Kernel(copy, indices, updates, y), 0, {same_memory(x, y)});
  });
}

}  // namespace edgelane
