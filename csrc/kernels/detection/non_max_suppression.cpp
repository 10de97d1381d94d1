// Candidates of a class lie in a heap, so that only those that are looked at are sorted. The boxes that were taken lie coordinate
// by coordinate, so that the comparison with all of them runs on vectors.
#include <algorithm>
#include <cstring>

#include "core/aligned_buffer.hpp"
#include "kernels/check.hpp"
#include "kernels/detection/detection.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/ordered.hpp"

namespace edgelane {
namespace {

struct Corners {
  float x_min, y_min, x_max, y_max, area;

  Corners(const float* box, bool center) {
    if (center) {
      const float half_width = box[2] / 2.0f, half_height = box[3] / 2.0f;
      x_min = box[0] - half_width;
      x_max = box[0] + half_width;
      y_min = box[1] - half_height;
      y_max = box[1] + half_height;
    } else {
      x_min = std::min(box[1], box[3]);
      x_max = std::max(box[1], box[3]);
      y_min = std::min(box[0], box[2]);
      y_max = std::max(box[0], box[2]);
    }
    area = (x_max - x_min) * (y_max - y_min);
  }
};

// The boxes that were taken of one class.
class Taken {
 public:
  static size_t bytes(int64_t limit) { return 5 * align_up(static_cast<size_t>(limit) * sizeof(float)); }

  Taken(uint8_t* memory, int64_t limit) {
    for (float*& coordinate : coordinates_) {
      coordinate = reinterpret_cast<float*>(memory);
      memory += align_up(static_cast<size_t>(limit) * sizeof(float));
    }
  }
  int64_t size() const { return size_; }
  void add(const Corners& box) {
    const float values[] = {box.x_min, box.y_min, box.x_max, box.y_max, box.area};
    for (int i = 0; i < 5; ++i) coordinates_[i][size_] = values[i];
    ++size_;
  }

  bool suppress(const Corners& box, float iou_threshold) const {
    constexpr int64_t kBlock = 32;  // then look whether that was enough
    if (!(box.area > 0.0f)) return false;
    for (int64_t begin = 0; begin < size_; begin += kBlock) {
      const float *x_min = coordinates_[0], *y_min = coordinates_[1], *x_max = coordinates_[2], *y_max = coordinates_[3],
                  *areas = coordinates_[4];
      const int64_t end = std::min(size_, begin + kBlock);
      int found = 0;
      for (int64_t i = begin; i < end; ++i) {
        const float width = std::min(box.x_max, x_max[i]) - std::max(box.x_min, x_min[i]);
        const float height = std::min(box.y_max, y_max[i]) - std::max(box.y_min, y_min[i]);
        const float intersection = width * height, joined = box.area + areas[i] - intersection;
        const int positive = (width > 0.0f) & (height > 0.0f) & (intersection > 0.0f) & (areas[i] > 0.0f) & (joined > 0.0f);
        found |= positive & (intersection / joined > iou_threshold);
      }
      if (found != 0) return true;
    }
    return false;
  }

 private:
  float* coordinates_[5];
  int64_t size_ = 0;
};

class NonMaxSuppression {
 public:
  NonMaxSuppression(const NonMaxSuppressionProblem& problem, int threads)
      : p_(problem), classes_(problem.scores.dims[1]), count_(problem.scores.dims[2]) {
    limit_ = std::min<int64_t>(p_.max_per_class, count_);
    lists_ = p_.scores.dims[0] * classes_;
    tasks_ = static_cast<int>(std::min<int64_t>(lists_, threads));
    sizes_bytes_ = align_up(static_cast<size_t>(lists_) * sizeof(int64_t));
    keys_bytes_ = align_up(static_cast<size_t>(count_) * sizeof(uint64_t));
    task_bytes_ = keys_bytes_ + Taken::bytes(limit_);
  }

  size_t workspace_bytes() const { return sizes_bytes_ + static_cast<size_t>(tasks_) * task_bytes_; }

  void operator()(const KernelArgs& args) const noexcept {
    auto* workspace = static_cast<uint8_t*>(args.workspace);
    auto* sizes = reinterpret_cast<int64_t*>(workspace);
    auto* rows = static_cast<int64_t*>(args.output);
    args.pool->parallel_for(tasks_, [&](int task, int) {
      uint8_t* memory = workspace + sizes_bytes_ + static_cast<size_t>(task) * task_bytes_;
      for (int64_t list = task; list < lists_; list += tasks_) sizes[list] = select(args, list, memory, rows + list * limit_ * 3);
    });
    // Every list was written where it would stand if all were full.
    int64_t used = 0;
    for (int64_t list = 0; list < lists_; used += sizes[list++])
      std::memmove(rows + used * 3, rows + list * limit_ * 3, static_cast<size_t>(sizes[list]) * 3 * sizeof(int64_t));
    std::fill(rows + used * 3, rows + lists_ * limit_ * 3, int64_t{-1});
  }

 private:
  int64_t select(const KernelArgs& args, int64_t list, uint8_t* memory, int64_t* rows) const {
    const int64_t image = list / classes_, kind = list % classes_;
    const float* boxes = static_cast<const float*>(args.inputs[0]) + image * count_ * 4;
    const float* scores = static_cast<const float*>(args.inputs[1]) + list * count_;
    // The largest key is that of the largest score, of equal ones that of the first.
    auto* keys = reinterpret_cast<uint64_t*>(memory);
    int64_t candidates = 0;
    for (int64_t i = 0; i < count_; ++i) {
      if (p_.has_score_threshold ? scores[i] > p_.score_threshold : scores[i] == scores[i])
        keys[candidates++] = uint64_t{ordered(scores[i])} << 32 | static_cast<uint32_t>(~static_cast<uint32_t>(i));
    }
    std::make_heap(keys, keys + candidates);
    Taken taken(memory + keys_bytes_, limit_);
    for (; candidates > 0 && taken.size() < limit_; --candidates) {
      const int64_t place = static_cast<uint32_t>(~static_cast<uint32_t>(keys[0]));
      const Corners box(boxes + place * 4, p_.center_point_box);
      if (!taken.suppress(box, p_.iou_threshold)) {
        int64_t* row = rows + taken.size() * 3;
        row[0] = image;
        row[1] = kind;
        row[2] = place;
        taken.add(box);
      }
      std::pop_heap(keys, keys + candidates);
    }
    return taken.size();
  }

  NonMaxSuppressionProblem p_;
  int64_t classes_, count_, limit_ = 0, lists_ = 0;
  int tasks_ = 1;
  size_t sizes_bytes_ = 0, keys_bytes_ = 0, task_bytes_ = 0;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_non_max_suppression(const NonMaxSuppressionProblem& p, const KernelOptions& options) {
  constexpr const char* kStep = "non_max_suppression";
  check_dtype(kStep, p.boxes, DType::float32);
  check_dtype(kStep, p.scores, DType::float32);
  check_dtype(kStep, p.output, DType::int64);
  check(p.boxes.rank == 3 && p.scores.rank == 3 && p.boxes.dims[0] == p.scores.dims[0] && p.boxes.dims[1] == p.scores.dims[2] &&
            p.boxes.dims[2] == 4,
        kStep, shape_text(p.boxes) + " and " + shape_text(p.scores) + " are no boxes and their scores");
  const int64_t rows = int64_t{p.scores.dims[0]} * p.scores.dims[1] * std::min(p.max_per_class, p.scores.dims[2]);
  check(p.max_per_class >= 1 && p.output.rank == 2 && p.output.dims[0] == rows && p.output.dims[1] == 3, kStep,
        "expected " + std::to_string(rows) + " rows of 3, found " + shape_text(p.output));
  const NonMaxSuppression kernel(p, options.threads);
  return make_kernel(select_kernel("detection", "non_max_suppression_f32", options), kernel.workspace_bytes(), kernel);
}

}  // namespace edgelane
