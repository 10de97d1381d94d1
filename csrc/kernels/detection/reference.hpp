// What non_max_suppression and roi_align mean; never optimised.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/detection/detection.hpp"

namespace edgelane::reference {

struct Rectangle {
  float low[2], high[2];
};

inline Rectangle rectangle(const float* box, bool center) {
  if (!center)
    return {{std::min(box[0], box[2]), std::min(box[1], box[3])}, {std::max(box[0], box[2]), std::max(box[1], box[3])}};
  return {{box[0] - box[2] / 2, box[1] - box[3] / 2}, {box[0] + box[2] / 2, box[1] + box[3] / 2}};
}

inline bool overlaps(const Rectangle& a, const Rectangle& b, float iou_threshold) {
  float intersection = 1, area_a = 1, area_b = 1;
  for (int d = 0; d < 2; ++d) {
    const float low = std::max(a.low[d], b.low[d]), high = std::min(a.high[d], b.high[d]);
    if (high <= low) return false;
    intersection *= high - low;
    area_a *= a.high[d] - a.low[d];
    area_b *= b.high[d] - b.low[d];
  }
  const float joined = area_a + area_b - intersection;
  if (intersection <= 0 || area_a <= 0 || area_b <= 0 || joined <= 0) return false;
  return intersection / joined > iou_threshold;
}

inline void non_max_suppression(const NonMaxSuppressionProblem& p, const float* boxes, const float* scores, int64_t* y) {
  const int classes = p.scores.dims[1], count = p.scores.dims[2];
  std::vector<int64_t> rows;
  for (int n = 0; n < p.scores.dims[0]; ++n) {
    for (int c = 0; c < classes; ++c) {
      const float* s = scores + (int64_t{n} * classes + c) * count;
      std::vector<int> order;
      for (int i = 0; i < count; ++i) {
        if (!std::isnan(s[i]) && (!p.has_score_threshold || s[i] > p.score_threshold)) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return s[a] > s[b]; });
      std::vector<int> taken;
      for (const int i : order) {
        const auto box = [&](int at) { return rectangle(boxes + (int64_t{n} * count + at) * 4, p.center_point_box); };
        if (static_cast<int>(taken.size()) == p.max_per_class) break;
        if (std::any_of(taken.begin(), taken.end(), [&](int t) { return overlaps(box(i), box(t), p.iou_threshold); })) continue;
        taken.push_back(i);
        rows.insert(rows.end(), {n, c, i});
      }
    }
  }
  std::fill(y, y + p.output.elements(), int64_t{-1});
  std::copy(rows.begin(), rows.end(), y);
}

inline void roi_align(const RoiAlignProblem& p, const float* x, const float* rois, const int64_t* batch, float* y) {
  const ElementOffsets in(p.input), out(p.output);
  const int h = p.input.dims[2], w = p.input.dims[3], oh = p.output.dims[2], ow = p.output.dims[3];
  const float offset = p.half_pixel ? 0.5f : 0.0f;
  for (int r = 0; r < p.output.dims[0]; ++r) {
    float edge[4];
    for (int i = 0; i < 4; ++i) edge[i] = rois[r * 4 + i] * p.spatial_scale - offset;
    float width = edge[2] - edge[0], height = edge[3] - edge[1];
    if (!p.half_pixel) width = std::max(width, 1.0f), height = std::max(height, 1.0f);
    const float part_h = height / static_cast<float>(oh), part_w = width / static_cast<float>(ow);
    const bool finite = std::isfinite(edge[0] + edge[1] + edge[2] + edge[3]);
    const int grid_h = !finite ? 0 : p.sampling_ratio > 0 ? p.sampling_ratio : static_cast<int>(std::ceil(part_h));
    const int grid_w = !finite ? 0 : p.sampling_ratio > 0 ? p.sampling_ratio : static_cast<int>(std::ceil(part_w));
    int64_t image = batch[r] < 0 ? batch[r] + p.input.dims[0] : batch[r];
    image = std::min<int64_t>(std::max<int64_t>(image, 0), p.input.dims[0] - 1);
    int i[kMaxRank] = {r};
    do {
      double sum = 0;
      float largest = 0;
      bool any = false;
      for (int a = 0; a < grid_h; ++a) {
        for (int b = 0; b < grid_w; ++b) {
          float at_y =
              edge[1] + static_cast<float>(i[2]) * part_h + (static_cast<float>(a) + 0.5f) * part_h / static_cast<float>(grid_h);
          float at_x =
              edge[0] + static_cast<float>(i[3]) * part_w + (static_cast<float>(b) + 0.5f) * part_w / static_cast<float>(grid_w);
          float best = 0;
          if (!(at_y < -1 || at_y > static_cast<float>(h) || at_x < -1 || at_x > static_cast<float>(w))) {
            at_y = std::min(std::max(at_y, 0.0f), static_cast<float>(h - 1));
            at_x = std::min(std::max(at_x, 0.0f), static_cast<float>(w - 1));
            const float fy = at_y - std::floor(at_y), fx = at_x - std::floor(at_x);
            for (int corner = 0; corner < 4; ++corner) {
              const int dy = corner / 2, dx = corner % 2;
              const int pixel[] = {static_cast<int>(image), i[1], std::min(static_cast<int>(at_y) + dy, h - 1),
                                   std::min(static_cast<int>(at_x) + dx, w - 1)};
              const float value = (dy != 0 ? fy : 1 - fy) * (dx != 0 ? fx : 1 - fx) * x[in(pixel, 4)];
              sum += static_cast<double>(value);
              best = corner == 0 ? value : std::max(best, value);
            }
          }
          largest = any ? std::max(largest, best) : best;
          any = true;
        }
      }
      y[out(i, 4)] = p.max ? largest : static_cast<float>(sum / std::max(1.0, static_cast<double>(grid_h) * grid_w));
    } while ([&] {
      int inner[kMaxRank] = {i[1], i[2], i[3]};
      const bool more = next_index(inner, p.output.dims + 1, 3);
      std::copy(inner, inner + 3, i + 1);
      return more;
    }());
  }
  fill_borders(y, p.output);
}

}  // namespace edgelane::reference
