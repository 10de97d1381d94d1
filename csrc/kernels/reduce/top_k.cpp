// top_k: elements become keys that order them as wanted, places included, so that no two are equal; the first k are split off in
// linear time and sorted.
#include <algorithm>

#include "core/aligned_buffer.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/indexing/box.hpp"
#include "kernels/ordered.hpp"
#include "kernels/reduce/reduce.hpp"

namespace edgelane {
namespace {

// A value and its place, compared in this order. Of 32 bits each they are one number.
struct NarrowKey {
  uint64_t bits;
  NarrowKey(uint32_t value, int64_t place) : bits(uint64_t{value} << 32 | static_cast<uint64_t>(place)) {}
  int64_t place() const { return static_cast<int64_t>(bits & UINT32_MAX); }
  bool operator<(const NarrowKey& o) const { return bits < o.bits; }
};
struct WideKey {
  uint64_t value;
  int64_t at;
  WideKey(uint64_t v, int64_t place) : value(v), at(place) {}
  int64_t place() const { return at; }
  bool operator<(const WideKey& o) const { return value != o.value ? value < o.value : at < o.at; }
};

template <class T>
class TopK {
  using Key = std::conditional_t<sizeof(T) == 8, WideKey, NarrowKey>;

 public:
  TopK(const TensorDesc& input, const TensorDesc& output, int axis, bool largest, int threads)
      : input_(input), from_(input), to_(output), axis_(axis), size_(input.dims[axis]), k_(output.dims[axis]), largest_(largest) {
    lines_ = input.elements() / size_;
    tasks_ = static_cast<int>(std::min<int64_t>(lines_, threads));
    key_bytes_ = align_up(static_cast<size_t>(size_) * sizeof(Key));
  }

  size_t workspace_bytes() const { return static_cast<size_t>(tasks_) * key_bytes_; }

  void operator()(const KernelArgs& args) const noexcept {
    args.pool->parallel_for(tasks_, [&](int task, int) {
      auto* keys = reinterpret_cast<Key*>(static_cast<uint8_t*>(args.workspace) + static_cast<size_t>(task) * key_bytes_);
      for (int64_t i = lines_ * task / tasks_; i < lines_ * (task + 1) / tasks_; ++i) write_line(args, i, keys);
    });
  }

 private:
  void write_line(const KernelArgs& args, int64_t line, Key* keys) const {
    int dims[kMaxRank], index[kMaxRank] = {};
    std::copy(input_.dims, input_.dims + kMaxRank, dims);
    dims[axis_] = 1;
    unravel(line, dims, input_.rank, index);
    const T* x = static_cast<const T*>(args.inputs[0]) + from_(index, input_.rank);
    int64_t* y = static_cast<int64_t*>(args.output) + to_(index, input_.rank);
    for (int64_t i = 0; i < size_; ++i) {
      const auto value = ordered(x[from_.at(axis_, i)]);
      keys[i] = Key(largest_ ? ~value : value, i);
    }
    if (k_ < size_) std::nth_element(keys, keys + k_, keys + size_);
    std::sort(keys, keys + k_);
    for (int64_t i = 0; i < k_; ++i) y[to_.at(axis_, i)] = keys[i].place();
  }

  TensorDesc input_;
  ElementOffsets from_, to_;
  int axis_;
  int64_t size_, k_;
  bool largest_;
  int64_t lines_ = 1;
  int tasks_ = 1;
  size_t key_bytes_ = 0;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_top_k(const TensorDesc& input, const TensorDesc& output, int axis, bool largest,
                                              const KernelOptions& options) {
  constexpr const char* kStep = "top_k";
  check_dtype(kStep, output, DType::int64);
  check(axis >= 0 && axis < input.rank && output.rank == input.rank, kStep,
        "axis " + std::to_string(axis) + " of " + shape_text(input));
  for (int a = 0; a < input.rank; ++a) {
    check(a == axis ? output.dims[a] >= 1 && output.dims[a] <= input.dims[a] : output.dims[a] == input.dims[a], kStep,
          shape_text(output) + " does not fit " + shape_text(input));
  }
  const auto make = [&](auto value, const char* operation) {
    const TopK<decltype(value)> kernel(input, output, axis, largest, options.threads);
    return make_kernel(select_kernel("reduce", operation, options), kernel.workspace_bytes(), kernel);
  };
  switch (input.dtype) {
    case DType::float32:
      return make(float{}, "top_k_f32");
    case DType::int32:
      return make(int32_t{}, "top_k_s32");
    case DType::int64:
      return make(int64_t{}, "top_k_s64");
    default:
      throw Error(StatusCode::invalid_argument, std::string(kStep) + ": expected numbers, found " + shape_text(input));
  }
}

}  // namespace edgelane
