// The axes of a reduction in the order in which it walks over them. Not for files with instruction-set flags.
#pragma once

#include <vector>

#include "core/span.hpp"
#include "formats/tensor.hpp"
#include "kernels/offsets.hpp"

namespace edgelane {

// The innermost axis is a run of elements side by side; adjacent axes that are treated alike and lie behind each other join it.
// Each item, one for every index of the kept axes outside of the run, reads `sums` runs: of reduced elements, or of elements that
// are each reduced with those at the same place of the item's other runs.
class ReduceShape {
 public:
  // skip_gaps: a map of planes is one run where both of its axes are reduced, gaps included, which hold 0.
  ReduceShape(const TensorDesc& input, const TensorDesc& output, Span<const int> axes, bool skip_gaps) {
    const ElementOffsets in(input), out(output);
    x_base_ = in.base();
    y_base_ = out.base();
    bool reduced[kMaxRank] = {};
    for (int a : axes) reduced[a] = true;
    for (int a = 0; a < input.rank; ++a) {
      if (reduced[a]) count_ *= input.dims[a];
    }
    int last = input.rank - 1;
    row_reduced_ = reduced[last];
    row_ = input.dims[last];
    for (--last; last >= 0 && reduced[last] == row_reduced_ && in.at(last, 1) == row_ &&
                 out.at(last, 1) == (row_reduced_ ? out.at(last, 1) : row_);
         --last) {
      row_ *= input.dims[last];
    }
    if (skip_gaps && input.planar() && reduced[2] && reduced[3] && last >= 2) {
      row_ = input.layout.strip_length();
      last = 1;
    }
    for (int a = 0; a <= last; ++a) {
      (reduced[a] ? reduced_ : kept_).push_back({input.dims[a], in.at(a, 1), out.at(a, 1)});
      (reduced[a] ? sums_ : items_) *= input.dims[a];
    }
  }

  int64_t x_base() const { return x_base_; }
  int64_t y_base() const { return y_base_; }
  int64_t row() const { return row_; }
  bool row_reduced() const { return row_reduced_; }
  int64_t items() const { return items_; }
  int64_t sums() const { return sums_; }
  int64_t count() const { return count_; }  // elements that become one

  struct Place {
    int64_t x = 0, y = 0;  // offsets from the bases
  };
  Place item(int64_t i) const {
    Place at;
    for (size_t a = kept_.size(); a-- > 0; i /= kept_[a].size) {
      at.x += i % kept_[a].size * kept_[a].x;
      at.y += i % kept_[a].size * kept_[a].y;
    }
    return at;
  }
  // Of the item's run k, from its first run.
  int64_t run(int64_t k) const {
    int64_t offset = 0;
    for (size_t a = reduced_.size(); a-- > 0; k /= reduced_[a].size) offset += k % reduced_[a].size * reduced_[a].x;
    return offset;
  }

 private:
  struct Axis {
    int64_t size = 1, x = 0, y = 0;  // strides in elements
  };
  std::vector<Axis> kept_, reduced_;  // axes outside of the run
  int64_t x_base_ = 0, y_base_ = 0, row_ = 1, items_ = 1, sums_ = 1, count_ = 1;
  bool row_reduced_ = false;
};

}  // namespace edgelane
