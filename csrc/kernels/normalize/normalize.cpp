#include "kernels/normalize/normalize.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/normalize/rows.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

constexpr const char* kStep = "normalize";

// Where a tensor's groups lie, in elements: `blocks` times `groups` of them, each made of `planes` times `rows` runs side by
// side.
struct Walk {
  int64_t base = 0, block = 0, group = 0, plane = 0, row = 0;
};

class Normalize {
 public:
  Normalize(const NormalizeProblem& p, Span<const float> scale, Span<const float> bias, const NormalizeRows& rows)
      : output_(p.output), rows_(rows), scale_(scale.begin(), scale.end()), bias_(bias.begin(), bias.end()) {
    parameters_ = {nullptr, nullptr, p.epsilon, p.mean_square};
    const int* dims = p.input.dims;
    for (int a = p.axis; a < p.input.rank; ++a) count_ *= dims[a];
    groups_ = p.input.elements() / count_;
    run_ = count_;
    if (!p.input.straight() || !p.output.straight()) {
      straight_ = false;
      // Rows without gaps are one run.
      const bool dense = p.axis < 3 && p.input.layout.pitch == dims[3] && p.output.layout.pitch == dims[3];
      run_ = dense ? int64_t{dims[2]} * dims[3] : dims[3];
      if (p.axis == 3) {
        blocks_ = int64_t{dims[0]} * dims[1];
        groups_ = dims[2];
      } else {
        planes_ = count_ / dims[2] / dims[3];
        run_rows_ = dense ? 1 : dims[2];
      }
    }
    x_ = walk(p.input, p.axis);
    y_ = walk(p.output, p.axis);
    fused_ = run_ == count_ && run_ <= kNormalizePiece;
    pieces_of_run_ = (run_ + kNormalizePiece - 1) / kNormalizePiece;
    chunks_ = (planes_ * run_rows_ * pieces_of_run_ + kPiecesOfChunk - 1) / kPiecesOfChunk;
  }

  size_t workspace_bytes() const { return fused_ ? 0 : static_cast<size_t>(blocks_ * groups_ * chunks_) * sizeof(Sums); }
  size_t packed_bytes() const { return (scale_.size() + bias_.size()) * sizeof(float); }

  void operator()(const KernelArgs& args) const noexcept {
    const Run run{static_cast<const float*>(args.inputs[0]), static_cast<float*>(args.output),
                  static_cast<Sums*>(args.workspace)};
    const int64_t groups = blocks_ * groups_;
    if (fused_) {
      parallel_ranges(*args.pool, groups, count_, [&](int64_t begin, int64_t end) { fused(run, begin, end); });
    } else if (groups >= wanted_tasks(*args.pool, groups * count_)) {
      parallel_ranges(*args.pool, groups, count_, [&](int64_t begin, int64_t end) {
        for (int64_t g = begin; g < end; ++g) {
          for (const Pass pass : kPasses) chunks(run, pass, g * chunks_, (g + 1) * chunks_);
        }
      });
    } else {
      for (const Pass pass : kPasses) {
        parallel_ranges(*args.pool, groups * chunks_, kPiecesOfChunk * std::min<int64_t>(run_, kNormalizePiece),
                        [&](int64_t begin, int64_t end) { chunks(run, pass, begin, end); });
      }
    }
    fill_borders(args.output, output_);
  }

 private:
  // A group that is long or in several runs is cut into pieces, and a chunk is so many of them. Sums of pieces are added in
  // double, first those of a chunk and then those of the chunks, so that the result does not depend on who adds which.
  static constexpr int64_t kPiecesOfChunk = 64;
  struct Sums {
    double sum, shifted, squares;
  };
  struct Run {
    const float* x;
    float* y;
    Sums* sums;  // of each chunk of each group
  };
  enum class Pass { sum, moments, map };
  static constexpr Pass kPasses[] = {Pass::sum, Pass::moments, Pass::map};

  Walk walk(const TensorDesc& t, int axis) const {
    if (straight_) return {0, 0, count_, 0, 0};
    if (axis == 3) return {t.layout.origin, t.layout.plane, t.layout.pitch, 0, 0};
    return {t.layout.origin, 0, planes_ * t.layout.plane, t.layout.plane, t.layout.pitch};
  }

  NormalizeParameters parameters() const {
    NormalizeParameters p = parameters_;
    if (!scale_.empty()) p.scale = scale_.data();
    if (!bias_.empty()) p.bias = bias_.data();
    return p;
  }

  void fused(const Run& run, int64_t begin, int64_t end) const {
    const NormalizeParameters p = parameters();
    while (begin < end) {
      const int64_t block = begin / groups_, first = begin % groups_, n = std::min(groups_ - first, end - begin);
      rows_.groups(run.x + x_.base + block * x_.block + first * x_.group, x_.group,
                   run.y + y_.base + block * y_.block + first * y_.group, y_.group, n, static_cast<int>(count_), p);
      begin += n;
    }
  }

  NormalizeMap map_of(const Sums* sums, Pass pass) const {
    NormalizeMap m{0.0f, 0.0f, 0.0f, nullptr, nullptr};
    Sums total{};
    for (int64_t c = 0; c < chunks_; ++c) {
      total.sum += sums[c].sum;
      if (pass != Pass::map) continue;
      total.shifted += sums[c].shifted;
      total.squares += sums[c].squares;
    }
    const double share = 1.0 / static_cast<double>(count_);
    if (!parameters_.mean_square) m.shift = static_cast<float>(total.sum * share);
    const double rest = parameters_.mean_square ? 0.0 : total.shifted * share;
    const double variance = total.squares * share - rest * rest;
    const double factor = 1.0 / std::sqrt((variance < 0.0 ? 0.0 : variance) + parameters_.epsilon);
    m.factor = static_cast<float>(factor);
    m.offset = static_cast<float>(-rest * factor);
    return m;
  }

  // One pass over chunks first to last - 1 of all groups' chunks.
  void chunks(const Run& run, Pass pass, int64_t first, int64_t last) const {
    if (pass == Pass::sum && parameters_.mean_square) {
      for (int64_t c = first; c < last; ++c) run.sums[c].sum = 0.0;
      return;
    }
    const int64_t pieces = planes_ * run_rows_ * pieces_of_run_;
    const NormalizeParameters p = parameters();
    NormalizeMap map{};
    for (int64_t c = first; c < last; ++c) {
      const int64_t group = c / chunks_, chunk = c % chunks_;
      if (pass != Pass::sum && (c == first || chunk == 0)) map = map_of(run.sums + group * chunks_, pass);
      Sums found{};
      for (int64_t i = chunk * kPiecesOfChunk; i < std::min(pieces, (chunk + 1) * kPiecesOfChunk); ++i) {
        const int64_t r = i / pieces_of_run_, at = i % pieces_of_run_ * kNormalizePiece;
        const int n = static_cast<int>(std::min<int64_t>(kNormalizePiece, run_ - at));
        const float* x = run.x + place(x_, group, r) + at;
        float sum = 0.0f, squares = 0.0f;
        if (pass == Pass::sum) {
          found.sum += rows_.sum(x, n);
        } else if (pass == Pass::moments) {
          rows_.moments(x, n, map.shift, &sum, &squares);
          found.shifted += sum;
          found.squares += squares;
        } else {
          const int64_t element = r * run_ + at;
          map.scale = p.scale != nullptr ? p.scale + element : nullptr;
          map.bias = p.bias != nullptr ? p.bias + element : nullptr;
          rows_.map(x, run.y + place(y_, group, r) + at, n, map);
        }
      }
      if (pass == Pass::sum) run.sums[c].sum = found.sum;
      if (pass == Pass::moments) run.sums[c].shifted = found.shifted, run.sums[c].squares = found.squares;
    }
  }

  int64_t place(const Walk& w, int64_t group, int64_t run) const {
    return w.base + group / groups_ * w.block + group % groups_ * w.group + run / run_rows_ * w.plane + run % run_rows_ * w.row;
  }

  TensorDesc output_;
  const NormalizeRows& rows_;
  std::vector<float> scale_, bias_;
  NormalizeParameters parameters_{};
  int64_t count_ = 1;                            // elements of a group
  int64_t blocks_ = 1, groups_ = 1;              // blocks of groups
  int64_t planes_ = 1, run_rows_ = 1, run_ = 1;  // of a group
  Walk x_, y_;
  bool straight_ = true, fused_ = false;
  int64_t pieces_of_run_ = 1, chunks_ = 1;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_normalize(const NormalizeProblem& problem, Span<const float> scale,
                                                  Span<const float> bias, const KernelOptions& options) {
  const TensorDesc &x = problem.input, &y = problem.output;
  check_dtype(kStep, x, DType::float32);
  check_dtype(kStep, y, DType::float32);
  check_same_shape(kStep, x, y);
  check(problem.axis >= 0 && problem.axis < x.rank, kStep, "axis " + std::to_string(problem.axis) + " of " + shape_text(x));
  size_t count = 1;
  for (int a = problem.axis; a < x.rank; ++a) count *= static_cast<size_t>(x.dims[a]);
  for (const size_t found : {scale.size(), bias.size()}) {
    check(found == 0 || found == count, kStep,
          "expected a scale and a bias of " + std::to_string(count) + " values, found " + std::to_string(found));
  }
  const KernelEntry& entry = select_kernel("normalize", "normalize_f32", options);
  Normalize run(problem, scale, bias, *EDGELANE_FOR_ISA(entry.isa, normalize_rows));
  const size_t workspace_bytes = run.workspace_bytes(), packed_bytes = run.packed_bytes();
  return make_kernel(entry, workspace_bytes, std::move(run), packed_bytes, {same_memory(x, y)});
}

}  // namespace edgelane
