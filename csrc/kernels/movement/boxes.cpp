#include "kernels/movement/boxes.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/aligned_buffer.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/movement/words.hpp"
#include "kernels/offsets.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

struct Axis {
  int64_t size = 1, from = 0, to = 0;  // steps in elements
};

// The part of the output that comes from one run of an input's indices along the source axis.
struct Box {
  int input = 0;
  int64_t from = 0, to = 0;  // its first element
  std::vector<Axis> outer;
  // The two axes of the inner loops. copy: elements lie side by side along the columns on both sides. transpose: they do along
  // the columns in the input and along the rows in the output.
  enum class Kind { copy, transpose, any } kind = Kind::any;
  Axis rows, columns;
  int64_t items = 1, pieces = 1;  // of `outer`; of the longer of the two axes
  int64_t units() const { return items * pieces; }
};

// Indices begin, begin + 1, ... end - 1 of a table, as first + i * step.
bool evenly(const std::vector<int>& index, size_t begin, size_t end, int64_t* step) {
  *step = end - begin > 1 ? int64_t{index[begin + 1]} - index[begin] : 0;
  for (size_t i = begin; i < end; ++i) {
    if (index[i] < 0 || index[i] != index[begin] + static_cast<int64_t>(i - begin) * *step) return false;
  }
  return true;
}

// Axes outermost first; those of one index are none, and one that goes on where the next outer axis' last one ended is part of
// that.
void add(std::vector<Axis>* axes, const Axis& axis) {
  if (axis.size == 1) return;
  if (!axes->empty() && axes->back().from == axis.from * axis.size && axes->back().to == axis.to * axis.size) {
    axes->back() = {axes->back().size * axis.size, axis.from, axis.to};
    return;
  }
  axes->push_back(axis);
}

Axis take(std::vector<Axis>* axes, size_t i) {
  const Axis axis = (*axes)[i];
  axes->erase(axes->begin() + static_cast<std::ptrdiff_t>(i));
  return axis;
}

void plan(Box* box, std::vector<Axis> axes) {
  constexpr int64_t kPiece = 16384, kAligned = 16;  // elements of a task, at least; of a piece's bounds
  if (axes.empty()) axes.push_back({1, 1, 1});
  const Axis last = take(&axes, axes.size() - 1);
  box->columns = last;
  const auto straight = std::find_if(axes.begin(), axes.end(), [](const Axis& a) { return a.from == 1; });
  if (last.to == 1 && last.from != 1 && straight != axes.end()) {
    box->kind = Box::Kind::transpose;
    box->rows = last;
    box->columns = take(&axes, static_cast<size_t>(straight - axes.begin()));
  } else {
    if (last.to == 1 && last.from == 1) box->kind = Box::Kind::copy;
    if (!axes.empty()) box->rows = take(&axes, axes.size() - 1);
  }
  box->outer = std::move(axes);
  for (const Axis& a : box->outer) box->items *= a.size;
  const int64_t longer = std::max(box->rows.size, box->columns.size);
  box->pieces = std::clamp(box->rows.size * box->columns.size / kPiece, int64_t{1}, (longer + kAligned - 1) / kAligned);
}

std::vector<Box> boxes_of(const GatherProblem& p) {
  const TensorDesc& output = p.output;
  const ElementOffsets to(output);
  if (output.rank == 0) {
    Box box;
    plan(&box, {});
    return {box};
  }
  std::vector<Box> boxes;
  const auto along = static_cast<size_t>(p.source_axis), length = static_cast<size_t>(output.dims[along]);
  for (size_t begin = 0, end = 0; begin < length; begin = end) {
    Box box;
    box.input = p.source.empty() ? 0 : p.source[begin];
    for (end = begin + 1; end < length && (p.source.empty() || p.source[end] == box.input); ++end) continue;
    const ElementOffsets from(p.inputs[static_cast<size_t>(box.input)]);
    box.from = from.base();
    box.to = to.base();
    std::vector<Axis> axes;
    for (int a = 0; a < output.rank; ++a) {
      const bool source = static_cast<size_t>(a) == along;
      const size_t first = source ? begin : 0, last = source ? end : static_cast<size_t>(output.dims[a]);
      int64_t step = 0;
      if (!evenly(p.index[a], first, last, &step)) return {};
      box.from += from.at(p.input_axis[a], p.index[a][first]);
      box.to += to.at(a, static_cast<int64_t>(first));
      add(&axes, {static_cast<int64_t>(last - first), step * from.at(p.input_axis[a], 1), to.at(a, 1)});
    }
    plan(&box, std::move(axes));
    boxes.push_back(std::move(box));
  }
  return boxes;
}

template <class T>
class Boxes {
 public:
  Boxes(const GatherProblem& p, std::vector<Box> boxes, const MoveWords& words)
      : output_(p.output), boxes_(std::move(boxes)), words_(words) {
    for (const Box& box : boxes_) units_ += box.units();
  }

  size_t table_bytes() const {
    size_t bytes = boxes_.size() * sizeof(Box);
    for (const Box& box : boxes_) bytes += box.outer.size() * sizeof(Axis);
    return bytes;
  }

  void operator()(const KernelArgs& args) const noexcept {
    parallel_ranges(*args.pool, units_, output_.elements() / units_, [&](int64_t begin, int64_t end) {
      for (const Box& box : boxes_) {
        if (end <= 0) return;
        for (int64_t unit = std::max<int64_t>(0, begin); unit < std::min(end, box.units()); ++unit) move(args, box, unit);
        begin -= box.units();
        end -= box.units();
      }
    });
    fill_borders(args.output, output_);
  }

 private:
  void move(const KernelArgs& args, const Box& box, int64_t unit) const {
    const T* from = static_cast<const T*>(args.inputs[box.input]) + box.from;
    T* to = static_cast<T*>(args.output) + box.to;
    int64_t item = unit / box.pieces;
    for (size_t i = box.outer.size(); i-- > 0; item /= box.outer[i].size) {
      from += item % box.outer[i].size * box.outer[i].from;
      to += item % box.outer[i].size * box.outer[i].to;
    }
    Axis rows = box.rows, columns = box.columns;
    Axis& longer = rows.size > columns.size ? rows : columns;
    const int64_t piece = unit % box.pieces, blocks = (longer.size + kBlock - 1) / kBlock;
    const int64_t first = blocks * piece / box.pieces * kBlock, last = blocks * (piece + 1) / box.pieces * kBlock;
    from += first * longer.from;
    to += first * longer.to;
    longer.size = std::min(last, longer.size) - first;
    if (static_cast<const T*>(to) == from) return;  // where it belongs already
    switch (box.kind) {
      case Box::Kind::copy:
        return copy(from, to, rows, columns.size);
      case Box::Kind::transpose:
        return transpose(from, to, rows, columns);
      default:
        for (int64_t r = 0; r < rows.size; ++r, from += rows.from, to += rows.to)
          for (int64_t c = 0; c < columns.size; ++c) to[c * columns.to] = from[c * columns.from];
    }
  }

  void copy(const T* from, T* to, const Axis& rows, int64_t n) const {
    if constexpr (sizeof(T) % sizeof(uint32_t) == 0) {
      constexpr int64_t kWords = sizeof(T) / sizeof(uint32_t);
      words_.copy(reinterpret_cast<const uint32_t*>(from), rows.from * kWords, reinterpret_cast<uint32_t*>(to), rows.to * kWords,
                  rows.size, n * kWords);
    } else {
      for (int64_t r = 0; r < rows.size; ++r)
        std::memcpy(to + r * rows.to, from + r * rows.from, static_cast<size_t>(n) * sizeof(T));
    }
  }

  void transpose(const T* from, T* to, const Axis& rows, const Axis& columns) const {
    if constexpr (sizeof(T) == sizeof(uint32_t)) {
      words_.transpose(from, rows.from, to, columns.to, rows.size, columns.size);
    } else {
      // In squares, whose lines stay in the first cache on both sides.
      for (int64_t r = 0; r < rows.size; r += kBlock)
        for (int64_t c = 0; c < columns.size; ++c)
          for (int64_t i = r; i < std::min(r + kBlock, rows.size); ++i) to[c * columns.to + i] = from[i * rows.from + c];
    }
  }

  static constexpr int64_t kBlock = 16;
  TensorDesc output_;
  std::vector<Box> boxes_;
  const MoveWords& words_;
  int64_t units_ = 0;
};

// PreparedKernel::place_in_output: of plain inputs that are one run of the output from beginning to end.
std::vector<int64_t> places_of(const GatherProblem& p, const std::vector<Box>& boxes) {
  std::vector<int64_t> places(p.inputs.size(), -1);
  if (p.inputs.size() < 2) return places;
  std::vector<int> uses(p.inputs.size());
  for (const Box& box : boxes) ++uses[static_cast<size_t>(box.input)];
  for (const Box& box : boxes) {
    const auto input = static_cast<size_t>(box.input);
    const TensorDesc& t = p.inputs[input];
    const int64_t place = box.to * static_cast<int64_t>(dtype_bytes(t.dtype));
    const bool whole = box.kind == Box::Kind::copy && box.rows.size == 1 && box.items == 1 && box.columns.size == t.elements();
    if (whole && uses[input] == 1 && t.straight() && p.output.straight() && place % static_cast<int64_t>(kAlignment) == 0)
      places[input] = place;
  }
  return places;
}

template <class T>
std::unique_ptr<PreparedKernel> make_boxes(const GatherProblem& p, std::vector<Box> boxes, const KernelEntry& entry) {
  std::vector<int64_t> places = places_of(p, boxes);
  Boxes<T> run(p, std::move(boxes), *EDGELANE_FOR_ISA(entry.isa, move_words));
  const size_t bytes = run.table_bytes();
  return make_kernel(entry, 0, std::move(run), bytes, {}, std::move(places));
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_boxes(const GatherProblem& problem, const KernelEntry& entry) {
  for (const TensorDesc& t : problem.inputs) {
    if (t.int8() && (t.planar() || problem.output.planar() || !same_quant(t, problem.output))) return nullptr;
  }
  std::vector<Box> boxes = boxes_of(problem);
  if (boxes.empty()) return nullptr;
  switch (dtype_bytes(problem.output.dtype)) {
    case 1:
      return make_boxes<uint8_t>(problem, std::move(boxes), entry);
    case 4:
      return make_boxes<uint32_t>(problem, std::move(boxes), entry);
    default:
      return make_boxes<uint64_t>(problem, std::move(boxes), entry);
  }
}

}  // namespace edgelane
