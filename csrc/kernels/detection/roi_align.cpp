// A mean of samples is separable: what the samples of a row of parts weigh each row of pixels with is summed first, and a row of
// parts then reads each pixel of the map once, whatever the number of samples. The largest sample is not.
#include <algorithm>
#include <cmath>

#include "core/aligned_buffer.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/detection/detection.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/indexing/box.hpp"

namespace edgelane {
namespace {

// Between two rows or columns of pixels, with the weight of each.
struct Sample {
  int low, high;
  float low_weight, high_weight;
};

// One axis of a region: its parts, their samples that lie on the map, and for means the weights of the pixels that they touch.
class Axis {
 public:
  Axis(int size, int parts, int sampling_ratio) : size_(size), parts_(parts), ratio_(sampling_ratio) {
    // Without a ratio samples lie at least half a pixel apart, but for the only one of a part.
    samples_ = ratio_ > 0 ? int64_t{parts} * ratio_ : 2 * int64_t{size} + 2 * int64_t{parts} + 16;
    // Parts lie side by side, so that they share no more than the pixels at their ends.
    weights_ = int64_t{size} + 3 * int64_t{parts};
  }
  size_t bytes() const {
    return align_up(static_cast<size_t>(samples_) * sizeof(Sample)) + align_up(static_cast<size_t>(weights_) * sizeof(float)) +
           align_up(static_cast<size_t>(parts_) * sizeof(Part));
  }

  struct Part {
    int64_t first_sample, samples;
    int64_t first_weight;
    int first_pixel, pixels;
    bool outside;  // some of its samples are
  };
  // The tables of one region, in memory of bytes().
  struct Plan {
    Sample* samples;
    float* weights;
    Part* parts;
    double grid;              // samples of a part, on the map or not
    int first_pixel, pixels;  // of all parts
  };

  // `start` is the coordinate of the region's first edge and `extent` its length, in pixels.
  Plan plan(uint8_t* memory, float start, float extent) const {
    Plan plan;
    plan.samples = reinterpret_cast<Sample*>(memory);
    memory += align_up(static_cast<size_t>(samples_) * sizeof(Sample));
    plan.weights = reinterpret_cast<float*>(memory);
    plan.parts = reinterpret_cast<Part*>(memory + align_up(static_cast<size_t>(weights_) * sizeof(float)));
    const float part = extent / static_cast<float>(parts_);
    const bool finite = std::isfinite(start) && std::isfinite(part);
    plan.grid = !finite ? 0.0 : ratio_ > 0 ? ratio_ : std::max(0.0, static_cast<double>(std::ceil(part)));
    int64_t used = 0, used_weights = 0;
    int first = size_, last = -1;
    for (int i = 0; i < parts_; ++i) {
      Part& p = plan.parts[i];
      p = {used, 0, used_weights, 0, 0, false};
      const float edge = start + static_cast<float>(i) * part;
      double begin = 0, end = plan.grid;
      if (end > kAll) {  // a large region may lie outside for the most part: only samples that can lie on the map
        const double per_sample = static_cast<double>(part) / plan.grid;
        begin = std::max(0.0, std::floor((-1.0 - edge) / per_sample) - 2.0);
        end = std::min(end, std::ceil((size_ - static_cast<double>(edge)) / per_sample) + 2.0);
        p.outside = begin > 0 || end < plan.grid;
      }
      for (double k = begin; k < end; ++k) {
        const float at = edge + (static_cast<float>(k) + 0.5f) * part / static_cast<float>(plan.grid);
        if (at < -1.0f || at > static_cast<float>(size_) || used == samples_) {
          p.outside = true;
          continue;
        }
        plan.samples[used++] = sample(at);
      }
      p.samples = used - p.first_sample;
      if (p.samples == 0) continue;
      int low = size_, high = -1;
      for (int64_t k = p.first_sample; k < used; ++k) {
        low = std::min(low, plan.samples[k].low);
        high = std::max(high, plan.samples[k].high);
      }
      p.first_pixel = low;
      p.pixels = static_cast<int>(std::min<int64_t>(high - low + 1, weights_ - used_weights));
      used_weights += p.pixels;
      first = std::min(first, low);
      last = std::max(last, low + p.pixels - 1);
      float* weights = plan.weights + p.first_weight;
      std::fill(weights, weights + p.pixels, 0.0f);
      for (int64_t k = p.first_sample; k < used; ++k) {
        const Sample& s = plan.samples[k];
        if (s.low - low < p.pixels) weights[s.low - low] += s.low_weight;
        if (s.high - low < p.pixels) weights[s.high - low] += s.high_weight;
      }
    }
    plan.first_pixel = first;
    plan.pixels = std::max(0, last - first + 1);
    return plan;
  }

 private:
  static constexpr double kAll = 512;  // samples of a part that are all computed

  Sample sample(float at) const {
    at = std::max(at, 0.0f);
    const int low = std::min(static_cast<int>(at), size_ - 1);
    if (low >= size_ - 1) return {size_ - 1, size_ - 1, 1.0f, 0.0f};
    const float weight = at - static_cast<float>(low);
    return {low, low + 1, 1.0f - weight, weight};
  }

  int size_, parts_, ratio_;
  int64_t samples_, weights_;
};

class RoiAlign {
 public:
  RoiAlign(const RoiAlignProblem& problem, int threads)
      : p_(problem),
        read_(problem.batch),
        rows_(problem.input.dims[2], problem.output.dims[2], problem.sampling_ratio),
        columns_(problem.input.dims[3], problem.output.dims[3], problem.sampling_ratio) {
    tasks_ = std::min(p_.output.dims[0], threads);
    line_bytes_ = align_up(static_cast<size_t>(p_.input.dims[3]) * sizeof(float));
    task_bytes_ = line_bytes_ + rows_.bytes() + columns_.bytes();
  }

  size_t workspace_bytes() const { return static_cast<size_t>(tasks_) * task_bytes_; }

  void operator()(const KernelArgs& args) const noexcept {
    args.pool->parallel_for(tasks_, [&](int task, int) {
      uint8_t* memory = static_cast<uint8_t*>(args.workspace) + static_cast<size_t>(task) * task_bytes_;
      const int64_t regions = p_.output.dims[0];
      for (int64_t r = regions * task / tasks_; r < regions * (task + 1) / tasks_; ++r) write_region(args, r, memory);
    });
    fill_borders(args.output, p_.output);
  }

 private:
  void write_region(const KernelArgs& args, int64_t region, uint8_t* memory) const {
    const PlanarLayout &in = p_.input.layout, &out = p_.output.layout;
    const float* roi = static_cast<const float*>(args.inputs[1]) + region * 4;
    const float offset = p_.half_pixel ? 0.5f : 0.0f;
    const float left = roi[0] * p_.spatial_scale - offset, top = roi[1] * p_.spatial_scale - offset;
    float width = roi[2] * p_.spatial_scale - offset - left, height = roi[3] * p_.spatial_scale - offset - top;
    if (!p_.half_pixel) {  // no region is smaller than a pixel
      width = std::max(width, 1.0f);
      height = std::max(height, 1.0f);
    }
    auto* line = reinterpret_cast<float*>(memory);
    const Axis::Plan rows = rows_.plan(memory + line_bytes_, top, height);
    const Axis::Plan columns = columns_.plan(memory + line_bytes_ + rows_.bytes(), left, width);
    const int64_t image = read_(args.inputs[2], region, in.batch);
    for (int c = 0; c < in.channels; ++c) {
      const float* x = static_cast<const float*>(args.inputs[0]) + (image * in.channels + c) * in.plane + in.origin;
      float* y = static_cast<float*>(args.output) + (region * out.channels + c) * out.plane + out.origin;
      for (int i = 0; i < out.height; ++i, y += out.pitch) {
        p_.max ? write_largest(x, rows, rows.parts[i], columns, y) : write_means(x, rows, rows.parts[i], columns, line, y);
      }
    }
  }

  void write_means(const float* x, const Axis::Plan& rows, const Axis::Part& row, const Axis::Plan& columns, float* line,
                   float* y) const {
    const int64_t pitch = p_.input.layout.pitch;
    const int first = columns.first_pixel, n = columns.pixels;
    std::fill(line, line + n, 0.0f);
    for (int k = 0; k < row.pixels; ++k) {
      const float weight = rows.weights[row.first_weight + k];
      const float* pixels = x + (row.first_pixel + k) * pitch + first;
      for (int i = 0; i < n; ++i) line[i] += weight * pixels[i];
    }
    const float count = static_cast<float>(std::max(1.0, rows.grid * columns.grid));
    for (int j = 0; j < p_.output.layout.width; ++j) {
      const Axis::Part& part = columns.parts[j];
      const float* weights = columns.weights + part.first_weight;
      float sum = 0.0f;
      for (int k = 0; k < part.pixels; ++k) sum += weights[k] * line[part.first_pixel - first + k];
      y[j] = sum / count;
    }
  }

  void write_largest(const float* x, const Axis::Plan& rows, const Axis::Part& row, const Axis::Plan& columns, float* y) const {
    const int64_t pitch = p_.input.layout.pitch;
    for (int j = 0; j < p_.output.layout.width; ++j) {
      const Axis::Part& part = columns.parts[j];
      bool any = (row.outside || part.outside) && rows.grid > 0 && columns.grid > 0;  // those outside are 0
      float largest = 0.0f;
      for (int64_t a = row.first_sample; a < row.first_sample + row.samples; ++a) {
        const Sample& r = rows.samples[a];
        const float *low = x + r.low * pitch, *high = x + r.high * pitch;
        for (int64_t b = part.first_sample; b < part.first_sample + part.samples; ++b) {
          const Sample& s = columns.samples[b];
          const float value =
              std::max(std::max(r.low_weight * s.low_weight * low[s.low], r.low_weight * s.high_weight * low[s.high]),
                       std::max(r.high_weight * s.low_weight * high[s.low], r.high_weight * s.high_weight * high[s.high]));
          largest = any ? std::max(largest, value) : value;
          any = true;
        }
      }
      y[j] = largest;
    }
  }

  RoiAlignProblem p_;
  IndexReader read_;
  Axis rows_, columns_;
  int tasks_ = 1;
  size_t line_bytes_ = 0, task_bytes_ = 0;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_roi_align(const RoiAlignProblem& p, const KernelOptions& options) {
  constexpr const char* kStep = "roi_align";
  for (const TensorDesc* t : {&p.input, &p.rois, &p.output}) check_dtype(kStep, *t, DType::float32);
  check_indices(kStep, p.batch);
  check(p.input.rank == 4 && p.output.rank == 4 && p.input.dims[1] == p.output.dims[1], kStep,
        "expected maps with equal channels, found " + shape_text(p.input) + " and " + shape_text(p.output));
  check(p.rois.rank == 2 && p.rois.dims[0] == p.output.dims[0] && p.rois.dims[1] == 4 && p.batch.rank == 1 &&
            p.batch.dims[0] == p.output.dims[0],
        kStep,
        "expected a region and an image for each of " + shape_text(p.output) + ", found " + shape_text(p.rois) + " and " +
            shape_text(p.batch));
  check(p.sampling_ratio >= 0 && p.sampling_ratio <= kMaxSamplingRatio, kStep,
        "expected a sampling ratio of at most " + std::to_string(kMaxSamplingRatio) + ", found " +
            std::to_string(p.sampling_ratio));
  const RoiAlign kernel(p, options.threads);
  return make_kernel(select_kernel("detection", "roi_align_f32", options), kernel.workspace_bytes(), kernel);
}

}  // namespace edgelane
