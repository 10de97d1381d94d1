// What detectors end in: the choice of boxes that overlap no better one, and regions of a map at one size.
#pragma once

#include <memory>

#include "formats/tensor.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// ONNX NonMaxSuppression. For each class of each image: boxes in falling order of their scores, of equal ones in rising order of
// their places, without those whose intersection over union with one that was taken is larger than iou_threshold. A score that is
// NaN never counts.
struct NonMaxSuppressionProblem {
  TensorDesc boxes;   // [n][count][4]: two opposite corners y x y x, or centre x, centre y, width, height
  TensorDesc scores;  // [n][classes][count]
  TensorDesc output;  // int64 [n * classes * min(max_per_class, count)][3]: image, class, place; -1 in rows that are not needed
  int max_per_class = 1;
  float iou_threshold = 0.0f;
  bool has_score_threshold = false;  // boxes count with a score above it
  float score_threshold = 0.0f;
  bool center_point_box = false;
};
// inputs: {boxes, scores}.
std::unique_ptr<PreparedKernel> prepare_non_max_suppression(const NonMaxSuppressionProblem& problem,
                                                            const KernelOptions& options);

// Without a limit a small file could ask for any amount of time.
constexpr int kMaxSamplingRatio = 256;

// ONNX RoiAlign: an output element is the mean, or the largest, of samples of the map at even distances in its part of the
// region. A sample outside of the map, by more than a pixel, is 0; a region with corners that are not finite is one outside.
struct RoiAlignProblem {
  TensorDesc input;   // [n][c][h][w]
  TensorDesc rois;    // [r][4]: x y x y
  TensorDesc batch;   // [r], int32 or int64: the image of each region; outside of the batch: the nearest
  TensorDesc output;  // [r][c][oh][ow]
  bool max = false;   // of the four weighted pixels of every sample, as ONNX Runtime computes it
  bool half_pixel = true;
  int sampling_ratio = 0;  // samples a side; 0: one for each pixel of a part, rounded up
  float spatial_scale = 1.0f;
};
// inputs: {x, rois, batch}.
std::unique_ptr<PreparedKernel> prepare_roi_align(const RoiAlignProblem& problem, const KernelOptions& options);

}  // namespace edgelane
