#include "kernels/detection/detection.hpp"

#include <limits>

#include "kernels/detection/reference.hpp"
#include "kernels/steps.hpp"

namespace edgelane {
namespace {

using namespace testing_steps;

NonMaxSuppressionProblem suppression(int n, int classes, int count, int max_per_class) {
  NonMaxSuppressionProblem p;
  p.boxes = f32({n, count, 4});
  p.scores = f32({n, classes, count});
  p.max_per_class = max_per_class;
  p.output = tensor(DType::int64, {n * classes * std::min(max_per_class, count), 3});
  return p;
}

struct Boxes {
  Data boxes, scores;
};

// Boxes of all sizes, some without an area, some the same; corners in any order; scores of few values, so that many are equal.
Boxes random_boxes(const NonMaxSuppressionProblem& p, int seed) {
  Boxes b{Data(p.boxes), Data(p.scores)};
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto real = [&](float size) { return size * static_cast<float>(random() >> 8) / static_cast<float>(1 << 24); };
  float* boxes = b.boxes.floats();
  for (int64_t i = 0; i < p.boxes.elements(); i += 4) {
    const float at[] = {real(8), real(8)}, size[] = {random() % 20 == 0 ? 0.0f : real(4) - 2, real(4) - 2};
    for (int d = 0; d < 2; ++d) {
      boxes[i + d] = at[d];
      boxes[i + 2 + d] = p.center_point_box ? std::fabs(size[d]) : at[d] + size[d];
    }
    if (i > 0 && random() % 10 == 0) std::copy(boxes + i - 4, boxes + i, boxes + i);
  }
  for (int64_t i = 0; i < p.scores.elements(); ++i) b.scores.floats()[i] = static_cast<float>(random() % 50) / 50.0f;
  return b;
}

void check_suppression(const NonMaxSuppressionProblem& p, const Boxes& b, const std::string& what) {
  Data expected(p.output);
  reference::non_max_suppression(p, b.boxes.floats(), b.scores.floats(), reinterpret_cast<int64_t*>(expected.bytes.data()));
  check_step("detection", "non_max_suppression_f32", {&b.boxes, &b.scores}, expected, {}, what, [&](KernelOptions o) {
    o.threads = 2;
    return prepare_non_max_suppression(p, o);
  });
}

TEST(Detection, NonMaxSuppression) {
  int seed = 0;
  const struct {
    int n, classes, count, max_per_class;
  } shapes[] = {{1, 1, 1, 1}, {1, 1, 40, 100}, {2, 3, 100, 7}, {1, 5, 300, 300}, {3, 1, 33, std::numeric_limits<int>::max()}};
  for (const auto& s : shapes) {
    for (const bool center : {false, true}) {
      for (const float iou : {0.0f, 0.3f, 0.7f, 1.0f}) {
        for (const int threshold : {0, 1, 2}) {
          NonMaxSuppressionProblem p = suppression(s.n, s.classes, s.count, s.max_per_class);
          p.center_point_box = center;
          p.iou_threshold = iou;
          p.has_score_threshold = threshold > 0;
          p.score_threshold = threshold == 2 ? 2.0f : 0.4f;  // 2: nothing is above it
          ++seed;
          check_suppression(p, random_boxes(p, seed), "seed " + std::to_string(seed));
        }
      }
    }
  }
}

TEST(Detection, BoxesAndScoresThatAreNoNumbers) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  for (const bool threshold : {false, true}) {
    NonMaxSuppressionProblem p = suppression(1, 2, 60, 30);
    p.iou_threshold = 0.4f;
    p.has_score_threshold = threshold;
    p.score_threshold = -inf;
    Boxes b = random_boxes(p, 7);
    for (int i = 0; i < 60; i += 7) {
      b.scores.floats()[i] = i % 2 != 0 ? nan : i % 3 != 0 ? inf : -inf;
      b.boxes.floats()[i * 4 + i % 4] = i % 5 != 0 ? nan : inf;
    }
    check_suppression(p, b, "special numbers");
  }
}

// The example of ONNX's documentation: six boxes, three of them stay.
TEST(Detection, SuppressesByOverlap) {
  NonMaxSuppressionProblem p = suppression(1, 1, 6, 4);
  p.iou_threshold = 0.5f;
  const float corners[] = {0, 0, 1, 1, 0, 0.1f, 1, 1.1f, 0, -0.1f, 1, 0.9f, 0, 10, 1, 11, 0, 10.1f, 1, 11.1f, 0, 100, 1, 101};
  const float scores[] = {0.9f, 0.75f, 0.6f, 0.95f, 0.5f, 0.3f};
  Boxes b{Data(p.boxes), Data(p.scores)};
  std::copy(corners, corners + 24, b.boxes.floats());
  std::copy(scores, scores + 6, b.scores.floats());
  const Data y = run_step(*prepare_non_max_suppression(p, {}), {&b.boxes, &b.scores}, p.output, 1);
  const int64_t expected[] = {0, 0, 3, 0, 0, 0, 0, 0, 5, -1, -1, -1};
  EXPECT_TRUE(std::equal(expected, expected + 12, reinterpret_cast<const int64_t*>(y.bytes.data())));
}

RoiAlignProblem regions(std::vector<int> input, int count, int oh, int ow, DType index = DType::int64) {
  RoiAlignProblem p;
  p.input = f32(input, {1, 2, 0, 1});
  p.rois = f32({count, 4});
  p.batch = tensor(index, {count});
  p.output = f32({count, input[1], oh, ow}, {0, 1, 1, 0});
  return p;
}

// Regions on the map, across its edges, outside, turned around and without an area.
Data random_regions(const RoiAlignProblem& p, int seed) {
  Data d(p.rois);
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto real = [&](float low, float high) {
    return low + (high - low) * static_cast<float>(random() >> 8) / static_cast<float>(1 << 24);
  };
  const float h = static_cast<float>(p.input.dims[2]), w = static_cast<float>(p.input.dims[3]);
  for (int r = 0; r < p.rois.dims[0]; ++r) {
    float* roi = d.floats() + r * 4;
    const float spread = r % 3 == 0 ? 0.0f : 6.0f;
    roi[0] = real(-spread, w), roi[1] = real(-spread, h), roi[2] = real(roi[0], w + spread), roi[3] = real(roi[1], h + spread);
    if (r % 7 == 6) std::swap(roi[0], roi[2]);
    if (r % 11 == 10) roi[3] = roi[1];
    if (r % 5 == 4) roi[2] = std::round(roi[2]), roi[1] = std::round(roi[1]);
  }
  return d;
}

void check_regions(const RoiAlignProblem& p, const Data& x, const Data& rois, const std::vector<int64_t>& images,
                   const std::string& what) {
  Data batch(p.batch), expected(p.output);
  for (size_t i = 0; i < images.size(); ++i) {
    if (p.batch.dtype == DType::int64) {
      reinterpret_cast<int64_t*>(batch.bytes.data())[i] = images[i];
    } else {
      reinterpret_cast<int32_t*>(batch.bytes.data())[i] = static_cast<int32_t>(images[i]);
    }
  }
  reference::roi_align(p, x.floats(), rois.floats(), images.data(), expected.floats());
  // A weight is rounded once for each sample that a pixel gets it from, and sums go over at most 25 x 25 pixels of at most 4.
  check_step("detection", "roi_align_f32", {&x, &rois, &batch}, expected, {1e-5f, 1e-5f}, what, [&](KernelOptions o) {
    o.threads = 2;
    return prepare_roi_align(p, o);
  });
}

TEST(Detection, RoiAlign) {
  int seed = 0;
  for (const bool max : {false, true}) {
    for (const bool half_pixel : {false, true}) {
      for (const int ratio : {0, 1, 2, 5}) {
        for (const float scale : {1.0f, 0.4f}) {
          for (const std::vector<int>& input : std::vector<std::vector<int>>{{2, 3, 9, 23}, {1, 2, 1, 1}, {3, 1, 17, 2}}) {
            RoiAlignProblem p = regions(input, 24, 3, 4, seed % 2 != 0 ? DType::int32 : DType::int64);
            p.max = max;
            p.half_pixel = half_pixel;
            p.sampling_ratio = ratio;
            p.spatial_scale = scale;
            const Data x = random_data(p.input, ++seed);
            std::vector<int64_t> images;
            for (int i = 0; i < 24; ++i) images.push_back(i % (input[0] + 3) - 2);  // some outside of the batch
            check_regions(p, x, random_regions(p, seed), images, "seed " + std::to_string(seed));
          }
        }
      }
    }
  }
}

// Regions that would take billions of samples, or have no place: what lies on the map is computed all the same.
TEST(Detection, RegionsOfAnySize) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  RoiAlignProblem p = regions({1, 1, 4, 5}, 9, 2, 2);
  const Data x = random_data(p.input, 1);
  Data rois(p.rois), batch(p.batch);
  const float corners[] = {-1e9f,  -1e9f,  1e9f,  1e9f,  0,     0,     1e30f, 1e30f, -inf,  0,     4,      4,
                           nan,    0,      4,     4,     0,     0,     inf,   inf,   1e38f, 1e38f, -1e38f, -1e38f,
                           -3e38f, -3e38f, 3e38f, 3e38f, -5e3f, -5e3f, 5e3f,  5e3f,  1e9f,  0,     2e9f,   4};
  std::copy(corners, corners + 36, rois.floats());
  std::memset(batch.bytes.data(), 0, batch.bytes.size());
  for (const bool max : {false, true}) {
    p.max = max;
    const Data y = run_step(*prepare_roi_align(p, {}), {&x, &rois, &batch}, p.output, 1);
    for (int i = 0; i < 9; ++i) {
      for (int k = 0; k < 4; ++k) {
        const int at[] = {i, 0, k / 2, k % 2};
        EXPECT_TRUE(std::isfinite(y.floats()[ElementOffsets(p.output)(at, 4)])) << "region " << i;
      }
    }
  }
  // 1250 and more samples a side: those outside are left out, and counted.
  p = regions({1, 2, 25, 25}, 2, 2, 2);
  const Data map = random_data(p.input, 2);
  Data large(p.rois);
  const float some[] = {-1300, -900, 1200, 2000, 3, -2600, 20, 2600};
  std::copy(some, some + 8, large.floats());
  for (const bool max : {false, true}) {
    p.max = max;
    check_regions(p, map, large, {0, 0}, "a large region");
  }
}

TEST(Detection, RefusesWhatDoesNotFit) {
  NonMaxSuppressionProblem p = suppression(2, 3, 10, 4);
  p.output.dims[0] = 23;
  EXPECT_THROW(prepare_non_max_suppression(p, {}), Error);
  p = suppression(2, 3, 10, 4);
  p.boxes.dims[1] = 11;
  EXPECT_THROW(prepare_non_max_suppression(p, {}), Error);
  p = suppression(2, 3, 10, 4);
  p.max_per_class = 0;
  EXPECT_THROW(prepare_non_max_suppression(p, {}), Error);
  RoiAlignProblem r = regions({1, 2, 4, 5}, 3, 2, 2);
  r.rois.dims[0] = 2;
  EXPECT_THROW(prepare_roi_align(r, {}), Error);
  r = regions({1, 2, 4, 5}, 3, 2, 2);
  r.sampling_ratio = kMaxSamplingRatio + 1;
  EXPECT_THROW(prepare_roi_align(r, {}), Error);
  r = regions({1, 2, 4, 5}, 3, 2, 2, DType::float32);
  EXPECT_THROW(prepare_roi_align(r, {}), Error);
}

}  // namespace
}  // namespace edgelane
