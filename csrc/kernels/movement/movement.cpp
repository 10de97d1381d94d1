#include "kernels/movement/movement.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/check.hpp"
#include "kernels/movement/gather.hpp"
#include "kernels/movement/reference.hpp"

namespace edgelane {
namespace {

// What slice, transpose, pad and channel_shuffle have in common.
void check_moved(const char* step, const TensorDesc& input, const TensorDesc& output) {
  check(input.rank == output.rank && input.dtype == output.dtype, step,
        "rank or dtype differ: " + shape_text(input) + " and " + shape_text(output));
  check(!input.int8() || same_quant(input, output), step, "int8 needs one scale on both sides");
}

void check_count(const char* step, const char* what, size_t found, int rank) {
  check(found == static_cast<size_t>(rank), step,
        std::to_string(found) + " " + what + " for a tensor of rank " + std::to_string(rank));
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_concat(Span<const TensorDesc> inputs, const TensorDesc& output, int axis,
                                               const KernelOptions& options) {
  constexpr const char* kStep = "concat";
  check(!inputs.empty() && axis >= 0 && axis < output.rank, kStep,
        "no inputs, or axis " + std::to_string(axis) + " out of range");
  GatherProblem p = GatherProblem::identity(inputs, output);
  p.source_axis = axis;
  p.index[axis].clear();
  for (size_t k = 0; k < inputs.size(); ++k) {
    check(inputs[k].rank == output.rank && inputs[k].dtype == output.dtype, kStep,
          "rank or dtype differ: " + shape_text(inputs[k]) + " and " + shape_text(output));
    for (int a = 0; a < output.rank; ++a) {
      check(a == axis || inputs[k].dims[a] == output.dims[a], kStep,
            "shapes differ: " + shape_text(inputs[k]) + " and " + shape_text(output));
    }
    for (int i = 0; i < inputs[k].dims[axis]; ++i) {
      p.index[axis].push_back(i);
      p.source.push_back(static_cast<int>(k));
    }
  }
  check(p.source.size() == static_cast<size_t>(output.dims[axis]), kStep,
        "the inputs have " + std::to_string(p.source.size()) + " along the axis, the output is " + shape_text(output));
  return prepare_gather(std::move(p), select_kernel("movement", "concat_any", options));
}

std::unique_ptr<PreparedKernel> prepare_slice(const TensorDesc& input, const TensorDesc& output, Span<const int> starts,
                                              Span<const int> steps, const KernelOptions& options) {
  constexpr const char* kStep = "slice";
  check_moved(kStep, input, output);
  check_count(kStep, "starts", starts.size(), input.rank);
  check_count(kStep, "steps", steps.size(), input.rank);
  GatherProblem p = GatherProblem::identity({&input, 1}, output);
  for (int a = 0; a < output.rank; ++a) {
    const int64_t last = starts[a] + static_cast<int64_t>(output.dims[a] - 1) * steps[a];
    check(starts[a] >= 0 && steps[a] >= 1 && last < input.dims[a], kStep,
          "reaches element " + std::to_string(last) + " of axis " + std::to_string(a) + " of " + shape_text(input));
    for (int i = 0; i < output.dims[a]; ++i) p.index[a][i] = starts[a] + i * steps[a];
  }
  return prepare_gather(std::move(p), select_kernel("movement", "slice_any", options));
}

std::unique_ptr<PreparedKernel> prepare_transpose(const TensorDesc& input, const TensorDesc& output, Span<const int> perm,
                                                  const KernelOptions& options) {
  constexpr const char* kStep = "transpose";
  check_moved(kStep, input, output);
  check_count(kStep, "axes", perm.size(), input.rank);
  GatherProblem p = GatherProblem::identity({&input, 1}, output);
  bool seen[kMaxRank] = {};
  for (int a = 0; a < output.rank; ++a) {
    const bool valid = perm[a] >= 0 && perm[a] < input.rank && !seen[perm[a]] && input.dims[perm[a]] == output.dims[a];
    check(valid, kStep, "the permutation does not lead from " + shape_text(input) + " to " + shape_text(output));
    seen[perm[a]] = true;
    p.input_axis[a] = perm[a];
  }
  return prepare_gather(std::move(p), select_kernel("movement", "transpose_any", options));
}

std::unique_ptr<PreparedKernel> prepare_channel_shuffle(const TensorDesc& input, const TensorDesc& output, int groups,
                                                        const KernelOptions& options) {
  constexpr const char* kStep = "channel_shuffle";
  check_moved(kStep, input, output);
  check_same_shape(kStep, input, output);
  check(input.planar() && groups >= 1 && input.dims[1] % groups == 0, kStep,
        std::to_string(groups) + " groups do not divide the channels of " + shape_text(input));
  GatherProblem p = GatherProblem::identity({&input, 1}, output);
  const int per_group = input.dims[1] / groups;
  for (int c = 0; c < input.dims[1]; ++c) p.index[1][c] = c % groups * per_group + c / groups;
  return prepare_gather(std::move(p), select_kernel("movement", "channel_shuffle_any", options));
}

std::unique_ptr<PreparedKernel> prepare_pad(const TensorDesc& input, const TensorDesc& output, Span<const int> before,
                                            PadMode mode, float value, const KernelOptions& options) {
  constexpr const char* kStep = "pad";
  check_moved(kStep, input, output);
  check_count(kStep, "counts", before.size(), input.rank);
  GatherProblem p = GatherProblem::identity({&input, 1}, output);
  p.fill = value;
  for (int a = 0; a < output.rank; ++a) {
    check(before[a] >= 0 && before[a] + input.dims[a] <= output.dims[a], kStep,
          shape_text(input) + " does not fit into " + shape_text(output) + " behind " + std::to_string(before[a]) + " elements");
    for (int i = 0; i < output.dims[a]; ++i) p.index[a][i] = reference::pad_source(mode, i, before[a], input.dims[a]);
  }
  return prepare_gather(std::move(p), select_kernel("movement", "pad_any", options));
}

}  // namespace edgelane
