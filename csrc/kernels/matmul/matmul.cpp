// Preparation of matrix products: choice of the kernel, the axes, and the run over threads.
#include "kernels/matmul/matmul.hpp"

#include <algorithm>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/kernel_list.hpp"
#include "kernels/matmul/matmul_kernel.hpp"
#include "kernels/offsets.hpp"
#include "kernels/split.hpp"

namespace edgelane {

#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(extern const MatmulKernel name;)
#include "kernels/matmul/kernels.inc"
#undef EDGELANE_KERNEL

namespace {

constexpr const MatmulKernel* kKernels[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) EDGELANE_IF_BUILT_##isa(&name, )
#include "kernels/matmul/kernels.inc"
#undef EDGELANE_KERNEL
};

constexpr const char* kStep = "matmul";
constexpr int kElementBytes = 4;
constexpr int kDepth = 512;  // of a packed panel: what the widest tile multiplies stays in the second-level cache
// Up to so many tiles of rows, packing takes longer than reading the columns where they are.
constexpr int64_t kTilesUnpacked = 2;

struct Axis {
  int64_t size, a, b, y;  // strides in elements
};

struct Place {
  int64_t a = 0, b = 0, y = 0;
};

Place place_of(const std::vector<Axis>& axes, int64_t item) {
  Place p;
  for (size_t i = axes.size(); i-- > 0; item /= axes[i].size) {
    const int64_t at = item % axes[i].size;
    p.a += at * axes[i].a;
    p.b += at * axes[i].b;
    p.y += at * axes[i].y;
  }
  return p;
}

int64_t items_of(const std::vector<Axis>& axes) {
  int64_t n = 1;
  for (const Axis& a : axes) n *= a.size;
  return n;
}

// For each matrix of b (a "batch"), the rows of a that are multiplied by it lie on the last axis but one, and on the axes along
// which b is broadcast. A batch's panels of columns are cut into tiles of rows, and a task takes some of them in that order.
// Where a tile begins does not depend on the tasks, nor do its sums.
class Matmul final : public PreparedKernel {
 public:
  Matmul(const TensorDesc& a, const TensorDesc& b, const TensorDesc& y, const MatmulKernel& kernel, int threads)
      : y_(y), kernel_(kernel), depth_(a.dims[a.rank - 1]), columns_(y.dims[y.rank - 1]) {
    const ElementOffsets at_a(a), at_b(b), at_y(y);
    base_ = {at_a.base(), at_b.base(), at_y.base()};
    b_step_ = at_b.at(b.rank - 2, 1);
    for (int axis = 0; axis < y.rank - 2; ++axis) {
      const int axis_a = axis - (y.rank - a.rank), axis_b = axis - (y.rank - b.rank);
      const auto stride = [](const TensorDesc& t, const ElementOffsets& at, int i) {
        return i >= 0 && t.dims[i] > 1 ? at.at(i, 1) : 0;
      };
      const Axis found = {y.dims[axis], stride(a, at_a, axis_a), stride(b, at_b, axis_b), at_y.at(axis, 1)};
      add(found.b == 0 ? &row_axes_ : &batch_axes_, found);
    }
    add(&row_axes_, {y.dims[y.rank - 2], at_a.at(a.rank - 2, 1), 0, at_y.at(y.rank - 2, 1)});
    batches_ = items_of(batch_axes_);
    row_tiles_ = (items_of(row_axes_) + kernel.rows - 1) / kernel.rows;
    vectors_ = (columns_ + kernel.lanes - 1) / kernel.lanes;
    panels_ = (vectors_ + kernel.vectors - 1) / kernel.vectors;
    packs_ = row_tiles_ > kTilesUnpacked || columns_ % kernel.lanes != 0;
    panel_bytes_ = align_up(size_t{kElementBytes} * std::min(depth_, kDepth) * std::min(vectors_, kernel.vectors) * kernel.lanes);
    if (packs_) workspace_bytes_ = panel_bytes_ * static_cast<size_t>(threads);

    info_.kernel = kernel.name;
    info_.format = "-";
    info_.isa = kernel.isa;
    info_.macs = info_.dense_macs = y.elements() * depth_;
  }

  void run(const KernelArgs& args) const noexcept override {
    // A multiply-add in a tile takes about a sixteenth of what an element of other steps does.
    const int64_t items = batches_ * panels_, wanted = std::max<int64_t>(1, wanted_tasks(*args.pool, info_.macs / 16));
    const int64_t strips = std::min((wanted + items - 1) / items, row_tiles_);
    const int64_t units = items * strips, tasks = std::min(units, wanted);
    args.pool->parallel_for(static_cast<int>(tasks), [&](int task, int worker) {
      auto* panel = static_cast<uint8_t*>(args.workspace) + static_cast<size_t>(worker) * panel_bytes_;
      for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; ++unit) {
        const int64_t item = unit / strips, strip = unit % strips;
        run_panel(args, item / panels_, static_cast<int>(item % panels_), row_tiles_ * strip / strips,
                  row_tiles_ * (strip + 1) / strips, panel);
      }
    });
    fill_borders(args.output, y_);
  }

 private:
  // An axis of one index is none, and one that goes on where the next outer axis' last one ended is a part of that.
  static void add(std::vector<Axis>* axes, const Axis& axis) {
    if (axis.size == 1) return;
    if (!axes->empty()) {
      Axis& outer = axes->back();
      if (outer.a == axis.a * axis.size && outer.b == axis.b * axis.size && outer.y == axis.y * axis.size) {
        outer = {outer.size * axis.size, axis.a, axis.b, axis.y};
        return;
      }
    }
    axes->push_back(axis);
  }

  static const uint8_t* element(const void* data, int64_t i) { return static_cast<const uint8_t*>(data) + i * kElementBytes; }
  static uint8_t* element(void* data, int64_t i) { return static_cast<uint8_t*>(data) + i * kElementBytes; }

  void run_panel(const KernelArgs& args, int64_t batch, int panel, int64_t first_tile, int64_t last_tile, uint8_t* packed) const {
    const int64_t rows = items_of(row_axes_);
    const int first_vector = static_cast<int>(int64_t{vectors_} * panel / panels_);
    const int last_vector = static_cast<int>(int64_t{vectors_} * (panel + 1) / panels_);
    const int column = first_vector * kernel_.lanes;
    Place at = place_of(batch_axes_, batch);
    at.a += base_.a, at.b += base_.b + column, at.y += base_.y + column;
    MatmulTile tile{};
    tile.columns = std::min(columns_, last_vector * kernel_.lanes) - column;
    for (int k = 0; k < depth_; k += kDepth) {
      tile.depth = std::min(kDepth, depth_ - k);
      tile.accumulate = k > 0;
      tile.b = element(args.inputs[1], at.b + k * b_step_);
      tile.b_step = b_step_;
      if (packs_) {
        kernel_.pack(tile.b, b_step_, tile.depth, tile.columns, packed);
        tile.b = packed;
        tile.b_step = static_cast<int64_t>(last_vector - first_vector) * kernel_.lanes;
      }
      for (int64_t t = first_tile; t < last_tile; ++t) {
        const int64_t row = t * kernel_.rows;
        tile.rows = static_cast<int>(std::min<int64_t>(kernel_.rows, rows - row));
        for (int r = 0; r < tile.rows; ++r) {
          const Place own = place_of(row_axes_, row + r);
          tile.a[r] = element(args.inputs[0], at.a + own.a + k);
          tile.y[r] = element(args.output, at.y + own.y);
        }
        kernel_.tile(tile);
      }
    }
  }

  TensorDesc y_;
  const MatmulKernel& kernel_;
  int depth_, columns_;
  Place base_;
  int64_t b_step_ = 0;
  std::vector<Axis> batch_axes_, row_axes_;
  int64_t batches_ = 1, row_tiles_ = 1;
  int vectors_ = 1, panels_ = 1;  // of columns, in all
  bool packs_ = false;
  size_t panel_bytes_ = 0;
};

bool broadcasts(const TensorDesc& t, const TensorDesc& y) {
  for (int axis = 0; axis < t.rank - 2; ++axis) {
    const int dim = t.dims[axis], whole = y.dims[axis + y.rank - t.rank];
    if (dim != 1 && dim != whole) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_matmul(const TensorDesc& a, const TensorDesc& b, const TensorDesc& y,
                                               const KernelOptions& options) {
  check(a.dtype == DType::float32 || a.dtype == DType::int32, kStep, "expected float32 or int32, found " + shape_text(a));
  check_dtype(kStep, b, a.dtype);
  check_dtype(kStep, y, a.dtype);
  const bool ranks = a.rank >= 2 && b.rank >= 2 && y.rank == std::max(a.rank, b.rank);
  check(ranks && a.dims[a.rank - 1] == b.dims[b.rank - 2] && y.dims[y.rank - 2] == a.dims[a.rank - 2] &&
            y.dims[y.rank - 1] == b.dims[b.rank - 1] && broadcasts(a, y) && broadcasts(b, y),
        kStep, shape_text(a) + " times " + shape_text(b) + " is not " + shape_text(y));
  const char* operation = a.dtype == DType::float32 ? "matmul_f32" : "matmul_s32";
  const MatmulKernel& kernel = kernel_of(kKernels, select_kernel("matmul", operation, options));
  return std::make_unique<Matmul>(a, b, y, kernel, std::max(1, options.threads));
}

}  // namespace edgelane
