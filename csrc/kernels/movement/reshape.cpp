// prepare_reshape: two tensors read as one sequence of elements, copied in runs that are straight on both sides.
#include <cstring>
#include <vector>

#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/movement/movement.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

// A tensor as rows of elements at equal distances, in row-major order of its elements.
class RowView {
 public:
  explicit RowView(const TensorDesc& t) {
    if (t.straight()) {
      length_ = t.elements();
      return;
    }
    const PlanarLayout& l = t.layout;
    const int width = t.int8() ? kChannelGroup : 1;
    planar_ = true;
    quads_ = t.int8();
    channels_ = l.channels;
    plane_ = l.plane * width;
    batch_step_ = plane_ * l.groups(t.int8());
    base_ = l.origin * width;
    step_ = width;
    pitch_ = static_cast<int64_t>(l.pitch) * width;
    height_ = l.height;
    length_ = l.width;
    if (l.pitch == l.width) {  // without gaps a map is one row
      length_ *= height_;
      height_ = 1;
    }
    if (length_ == 1 && height_ == 1 && !quads_) {  // the channels of a 1 x 1 map are one row
      length_ = channels_;
      step_ = plane_;
      plane_ = batch_step_;
      channels_ = 1;
    }
  }

  // A place in the sequence; `left` elements of its row lie at offset, offset + step(), ...
  struct Cursor {
    int64_t row = 0, offset = 0, left = 0;
    int y = 0;
  };

  Cursor seek(int64_t element) const {
    Cursor c;
    c.row = element / length_;
    c.y = static_cast<int>(c.row % height_);
    const int64_t x = element % length_;
    c.offset = row_offset(c) + x * step_;
    c.left = length_ - x;
    return c;
  }
  void advance(Cursor* c, int64_t elements) const {
    c->left -= elements;
    c->offset += elements * step_;
    if (c->left > 0) return;
    ++c->row;
    c->y = c->y + 1 == height_ ? 0 : c->y + 1;
    c->offset = row_offset(*c);
    c->left = length_;
  }
  int64_t step() const { return step_; }

 private:
  int64_t row_offset(const Cursor& c) const {
    if (!planar_) return 0;
    const int64_t map = c.row / height_, n = map / channels_, channel = map % channels_;
    const int64_t in_batch = quads_ ? channel / kChannelGroup * plane_ + channel % kChannelGroup : channel * plane_;
    return base_ + n * batch_step_ + in_batch + c.y * pitch_;
  }

  int64_t base_ = 0, step_ = 1, length_ = 1, pitch_ = 0, plane_ = 0, batch_step_ = 0;
  int height_ = 1, channels_ = 1;
  bool planar_ = false, quads_ = false;
};

template <class T>
void copy_elements(const RowView& from, const T* x, const RowView& to, T* y, int64_t begin, int64_t end) {
  if (begin >= end) return;
  RowView::Cursor a = from.seek(begin), b = to.seek(begin);
  const int64_t step_a = from.step(), step_b = to.step();
  for (int64_t done = begin; done < end;) {
    const int64_t n = std::min({a.left, b.left, end - done});
    if (step_a == 1 && step_b == 1) {
      std::memcpy(y + b.offset, x + a.offset, static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) y[b.offset + i * step_b] = x[a.offset + i * step_a];
    }
    done += n;
    if (done == end) break;
    from.advance(&a, n);
    to.advance(&b, n);
  }
}

template <class T>
std::unique_ptr<PreparedKernel> make_reshape(const TensorDesc& input, const TensorDesc& output, const KernelEntry& entry) {
  const RowView from(input), to(output);
  const bool view = input.straight() && output.straight();
  const auto run = [=](const KernelArgs& args) {
    const T* x = static_cast<const T*>(args.inputs[0]);
    T* y = static_cast<T*>(args.output);
    if (x == y) return;  // the output took the input's place, and straight rows are the same bytes in any shape
    if (output.straight()) {
      constexpr int64_t kBlock = 4096;
      const int64_t n = output.elements();
      parallel_ranges(*args.pool, (n + kBlock - 1) / kBlock, kBlock, [&](int64_t begin, int64_t end) {
        copy_elements(from, x, to, y, begin * kBlock, std::min(end * kBlock, n));
      });
      return;
    }
    const PlanarLayout& layout = output.layout;
    const int64_t map = static_cast<int64_t>(layout.height) * layout.width;
    const int groups = layout.groups(output.int8()), per_group = output.int8() ? kChannelGroup : 1;
    const uint32_t word = border_word(output);
    parallel_ranges(*args.pool, static_cast<int64_t>(layout.batch) * groups, layout.plane, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t n = i / groups, group = i % groups;
        const int64_t first = n * layout.channels + group * per_group;
        const int64_t last = n * layout.channels + std::min<int64_t>((group + 1) * per_group, layout.channels);
        uint32_t* plane = static_cast<uint32_t*>(args.output) + i * layout.plane;
        copy_elements(from, x, to, y, first * map, last * map);
        if (output.int8() && group == groups - 1) fill_channel_padding(plane, layout, word);
        fill_border(plane, layout, word);
      }
    });
  };
  return make_kernel(entry, 0, run, 0, {view});
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_reshape(const TensorDesc& input, const TensorDesc& output, const KernelOptions& options) {
  check(input.dtype == output.dtype && input.elements() == output.elements(), "reshape",
        "elements or dtype differ: " + shape_text(input) + " and " + shape_text(output));
  check(!input.int8() || same_quant(input, output), "reshape", "int8 needs one scale on both sides");
  const KernelEntry& entry = select_kernel("movement", "reshape_any", options);
  switch (dtype_bytes(output.dtype)) {
    case 1:
      return make_reshape<uint8_t>(input, output, entry);
    case 4:
      return make_reshape<uint32_t>(input, output, entry);
    default:
      return make_reshape<uint64_t>(input, output, entry);
  }
}

}  // namespace edgelane
