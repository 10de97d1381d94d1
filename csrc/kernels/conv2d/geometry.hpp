// Where a strip kernel reads and writes: the part of a convolution that depends on shapes alone.
//
// A strip kernel computes output pixels in the coordinates of its source planes: position s stands for output pixel
// (s / pitch, s % pitch), where pitch is the source's. Each tap is then one constant offset, whatever the shape. Positions
// between two rows are computed as well and dropped. Stride 1 reads the input in place; for any other stride the input is first
// split into phases in the workspace, one for each (row % stride_h, column % stride_w) that a tap uses, and read like stride 1.
// Outputs and residuals have pitches of their own: a vector of positions covers pixels of one or more output rows, each with its
// own distance between source position and output index, which is what a Segment holds.
//
// Everything counts in elements of four bytes: a float, or four int8 channels of one pixel.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv2d/conv2d.hpp"

namespace edgelane {

struct Segment {
  int32_t offset;  // index in the plane for the vector's lane 0, as if all lanes lay in this row
  uint32_t mask;   // lanes that are pixels of this row
};

// For each vector of positions, the segments first[v] to first[v + 1].
struct SegmentTable {
  std::vector<int32_t> first;
  std::vector<Segment> segments;
  bool single = true;  // source and plane have one pitch: one segment for each vector, gaps between rows coincide

  size_t bytes() const { return first.size() * sizeof(int32_t) + segments.size() * sizeof(Segment); }
};

struct Phase {
  int row, column;                                     // position within the stride
  int first_row, last_row, first_column, last_column;  // in strided coordinates, what the taps of this phase read
};

struct StripGeometry {
  int pitch = 0;                     // of the source planes
  int64_t origin = 0;                // of position 0 in a source plane
  int64_t plane = 0;                 // from a channel (or quad of channels) to the next
  int planes = 0;                    // channels or quads of one image
  int64_t positions = 0;             // (height - 1) * pitch + width of the output
  int vectors = 0;                   // of the strip, rounded up
  std::vector<int32_t> tap_offsets;  // [kernel_h * kernel_w], relative to a position
  std::vector<Phase> phases;         // empty: the input is read in place
  int64_t phase_plane = 0;
  SegmentTable output, residual;

  bool copies() const { return !phases.empty(); }
  size_t table_bytes() const {
    return tap_offsets.size() * sizeof(int32_t) + phases.size() * sizeof(Phase) + output.bytes() + residual.bytes();
  }
  int64_t batch_stride() const { return plane * planes; }
  // Elements of the workspace. A strip is read to the next vector boundary, past the last plane too.
  int64_t workspace_elements(int batch) const { return copies() ? batch_stride() * batch + 64 : 0; }
};

// Throws Error(invalid_argument) where the border does not cover a tap or sizes disagree.
void check_conv2d(const Conv2dProblem& problem);

// For a problem that was checked; throws Error(invalid_argument) where an image is too large, or its tables.
// `int8`: elements are quads of channels; `lanes`: positions in a vector.
StripGeometry plan_strip(const Conv2dProblem& problem, bool int8, int lanes);

// Copies every second one of count * 2 - 1 elements.
using EverySecondFunction = void (*)(const uint32_t* from, uint32_t* to, int count);

// Copies plane `index` (image * planes + channel or quad) into its phases; rows of a horizontal stride of 2 by `every_second`.
void split_phases(const Conv2dProblem& problem, const StripGeometry& geometry, const uint32_t* input, uint32_t* workspace,
                  int64_t index, EverySecondFunction every_second) noexcept;

}  // namespace edgelane
