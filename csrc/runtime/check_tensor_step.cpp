// The rules of the ops that compute with tensors of any meaning (export/FORMAT.md, "Ops"): element-wise arithmetic, movement,
// reductions, selection, products. What follows from them is that a prepared kernel reads and writes only its own tensors.
#include "kernels/elementwise/binary_function.hpp"
#include "kernels/movement/movement.hpp"
#include "runtime/step_rules.hpp"

namespace edgelane {
namespace {

class TensorRules : StepRules {
 public:
  TensorRules(const Model& model, const Step& step) : StepRules(model, step) {}

  void check() const {
    switch (step_.op) {
      case Op::unary:
        return unary();
      case Op::binary:
        return binary();
      case Op::where:
        return where();
      case Op::cast:
        return cast();
      case Op::recode:
        return recode();
      case Op::softmax:
      case Op::log_softmax:
        return softmax();
      case Op::concat:
        return concat();
      case Op::slice:
        return slice();
      case Op::transpose:
        return transpose();
      case Op::reshape:
        return reshape();
      case Op::pad:
        return pad();
      case Op::reduce:
        return reduce();
      case Op::arg_reduce:
        return arg_reduce();
      case Op::top_k:
        return top_k();
      case Op::gather:
        return gather();
      case Op::gather_elements:
        return gather_elements();
      case Op::gather_nd:
        return gather_nd();
      case Op::scatter_elements:
        return scatter_elements();
      case Op::scatter_nd:
        return scatter_nd();
      case Op::matmul:
        return matmul();
      case Op::normalize:
        return normalize();
      case Op::non_max_suppression:
        return non_max_suppression();
      case Op::roi_align:
        return roi_align();
      default:
        fail(kInvalid, "expected an op of the format, found ", static_cast<int>(step_.op));
    }
  }

 private:
  static constexpr std::initializer_list<DType> kNumbers = {DType::float32, DType::int32, DType::int64};
  static constexpr std::initializer_list<DType> kIndices = {DType::int32, DType::int64};

  // ---- element by element ----

  void unary() const {
    const Tensor& x = input(0);
    expect_same_shape(x, y_);
    switch (a_.activation.kind) {
      case ActivationKind::logical_not:
        expect_dtype(x, {DType::boolean});
        return expect_dtype(y_, {DType::boolean});
      case ActivationKind::is_nan:
      case ActivationKind::is_inf:
        expect_dtype(x, {DType::float32});
        return expect_dtype(y_, {DType::boolean});
      case ActivationKind::none:
      case ActivationKind::relu:
      case ActivationKind::abs:
      case ActivationKind::neg:
      case ActivationKind::sign:
        expect_dtype(x, {DType::float32, DType::int8, DType::int32, DType::int64});
        return expect_same_dtype(x, y_);
      default:
        expect_dtype(x, {DType::float32, DType::int8});
        return expect_same_dtype(x, y_);
    }
  }

  // Shapes of operands that broadcast, as numpy does, to the output's axes before the last `skip`.
  void expect_broadcast(std::initializer_list<const Tensor*> operands, int skip = 0) const {
    int rank = 0;
    for (const Tensor* t : operands) rank = std::max(rank, t->rank - skip);
    if (y_.rank - skip != rank) fail(kInvalid, "expected rank ", rank + skip, ", found ", describe(y_));
    for (int i = 0; i < rank; ++i) {
      int dim = 1;
      bool fits = true;
      for (const Tensor* t : operands) {
        const int axis = i - (rank - (t->rank - skip));
        const int own = axis < 0 ? 1 : t->dims[axis];
        fits = fits && (own == 1 || dim == 1 || own == dim);
        if (own != 1) dim = own;
      }
      if (fits && y_.dims[i] == dim) continue;
      std::string found;
      for (const Tensor* t : operands) found += describe(*t) + ", ";
      fail(kInvalid, "expected shapes that broadcast to the output's, found ", found, describe(y_));
    }
  }

  void binary() const {
    const Tensor &a = input(0), &b = input(1);
    expect_same_dtype(a, b);
    expect_broadcast({&a, &b});
    switch (static_cast<BinaryFunction>(a_.function)) {
      case BinaryFunction::add:
      case BinaryFunction::mul:
        expect_dtype(a, {DType::float32, DType::int8, DType::int32, DType::int64});
        break;
      case BinaryFunction::sub:
      case BinaryFunction::div:
      case BinaryFunction::max:
      case BinaryFunction::min:
      case BinaryFunction::pow:
      case BinaryFunction::mod:
      case BinaryFunction::fmod:
        expect_dtype(a, kNumbers);
        break;
      case BinaryFunction::prelu:
        expect_dtype(a, {DType::float32});
        break;
      case BinaryFunction::equal:
        expect_dtype(a, {DType::float32, DType::int32, DType::int64, DType::boolean});
        return expect_comparison();
      case BinaryFunction::less:
      case BinaryFunction::less_or_equal:
        expect_dtype(a, kNumbers);
        return expect_comparison();
      case BinaryFunction::logical_and:
      case BinaryFunction::logical_or:
      case BinaryFunction::logical_xor:
        expect_dtype(a, {DType::boolean});
        break;
      case BinaryFunction::bit_and:
      case BinaryFunction::bit_or:
      case BinaryFunction::bit_xor:
      case BinaryFunction::shift_left:
      case BinaryFunction::shift_right:
        expect_dtype(a, kIndices);
        break;
    }
    expect_same_dtype(a, y_);
    if (a_.activation.kind != ActivationKind::none) expect_dtype(y_, {DType::float32, DType::int8});
  }

  void expect_comparison() const {
    expect_dtype(y_, {DType::boolean});
    if (a_.activation.kind != ActivationKind::none)
      fail(kInvalid, "expected no activation behind a comparison, found ", activation_name(a_.activation.kind));
  }

  void where() const {
    const Tensor &condition = input(0), &a = input(1), &b = input(2);
    expect_dtype(condition, {DType::boolean});
    expect_broadcast({&condition, &a, &b});
    for (const Tensor* t : {&a, &b}) {
      expect_same_dtype(*t, y_);
      expect_same_quant(*t, y_);
    }
  }

  void cast() const { expect_same_shape(input(0), y_); }

  void recode() const {
    const Tensor& x = input(0);
    expect_same_shape(x, y_);
    expect_dtype(x, {DType::int8, DType::uint8});
    expect_dtype(y_, {x.dtype == DType::int8 ? DType::uint8 : DType::int8});
  }

  // ---- movement ----

  void movement_dtypes() const {
    for (size_t i = 0; i < step_.inputs.size(); ++i) expect_same_dtype(input(i), y_);
  }

  void concat() const {
    movement_dtypes();
    expect_axis(y_);
    int64_t sum = 0;
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      const Tensor& x = input(i);
      expect_rank(x, y_.rank);
      for (int d = 0; d < y_.rank; ++d) {
        if (d != a_.axis && x.dims[d] != y_.dims[d]) {
          fail(kInvalid, "expected shapes that differ along axis ", a_.axis, " only, found ", describe(x), " and ", describe(y_));
        }
      }
      sum += x.dims[a_.axis];
    }
    if (sum != y_.dims[a_.axis]) fail(kInvalid, "expected ", sum, " elements along axis ", a_.axis, ", found ", describe(y_));
  }

  void slice() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    expect_rank(y_, x.rank);
    expect_count("starts", a_.starts.size(), x.rank);
    expect_count("steps", a_.steps.size(), x.rank);
    for (size_t i = 0; i < static_cast<size_t>(x.rank); ++i) {
      const int64_t last = a_.starts[i] + (int64_t{y_.dims[i]} - 1) * a_.steps[i];
      if (last >= x.dims[i])
        fail(kInvalid, "expected to read up to element ", x.dims[i] - 1, " of axis ", i, ", found ", last, " of ", describe(x));
    }
  }

  void transpose() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    expect_rank(y_, x.rank);
    expect_count("perm", a_.perm.size(), x.rank);
    bool seen[kMaxRank] = {};
    for (size_t i = 0; i < a_.perm.size(); ++i) {
      const int from = a_.perm[i];
      if (from >= x.rank || seen[from])
        fail(kInvalid, "expected a permutation of ", x.rank, " axes, found ", list(Span<const int>(a_.perm)));
      seen[from] = true;
      if (y_.dims[i] != x.dims[from])
        fail(kInvalid, "expected ", describe(x), " permuted by ", list(Span<const int>(a_.perm)), ", found ", describe(y_));
    }
  }

  void reshape() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    if (x.elements() != y_.elements())
      fail(kInvalid, "expected as many elements on both sides, found ", describe(x), " and ", describe(y_));
  }

  void pad() const {
    const Tensor& x = input(0);
    movement_dtypes();
    expect_same_quant(x, y_);
    expect_rank(y_, x.rank);
    expect_count("before", a_.before.size(), x.rank);
    const bool reflect = static_cast<PadMode>(a_.mode) == PadMode::reflect;
    for (size_t i = 0; i < a_.before.size(); ++i) {
      const int64_t before = a_.before[i], after = int64_t{y_.dims[i]} - x.dims[i] - before;
      if (after < 0)
        fail(kInvalid, "expected at least ", before + x.dims[i], " elements along axis ", i, ", found ", describe(y_));
      if (reflect && (before >= x.dims[i] || after >= x.dims[i])) {
        fail(kInvalid, "expected a reflected border of less than ", x.dims[i], " elements along axis ", i, ", found ", before,
             " and ", after);
      }
    }
  }

  // ---- reductions and selection ----

  // What reduce and arg_reduce share: the input's shape with 1 where `reduced` says so.
  void expect_reduced(const Tensor& x, const bool* reduced) const {
    expect_rank(y_, x.rank);
    for (int i = 0; i < x.rank; ++i) {
      if (y_.dims[i] != (reduced[i] ? 1 : x.dims[i]))
        fail(kInvalid, "expected ", describe(x), " with 1 at the reduced axes, found ", describe(y_));
    }
  }

  void reduce() const {
    const Tensor& x = input(0);
    expect_dtype(x, kNumbers);
    expect_same_dtype(x, y_);
    bool reduced[kMaxRank] = {};
    for (size_t i = 0; i < a_.axes.size(); ++i) {
      if (a_.axes[i] >= x.rank || (i > 0 && a_.axes[i] <= a_.axes[i - 1])) {
        fail(kInvalid, "expected ascending axes below ", x.rank, ", found ", list(Span<const int>(a_.axes)));
      }
      reduced[a_.axes[i]] = true;
    }
    expect_reduced(x, reduced);
  }

  void arg_reduce() const {
    const Tensor& x = input(0);
    expect_dtype(x, kNumbers);
    expect_dtype(y_, {DType::int64});
    expect_axis(x);
    bool reduced[kMaxRank] = {};
    reduced[a_.axis] = true;
    expect_reduced(x, reduced);
  }

  // Equal shapes but along the axis, where y is `smaller`.
  void expect_same_but_axis(const Tensor& x, const Tensor& y) const {
    expect_rank(y, x.rank);
    for (int i = 0; i < x.rank; ++i) {
      if (i == a_.axis ? y.dims[i] > x.dims[i] : y.dims[i] != x.dims[i])
        fail(kInvalid, "expected ", describe(x), " with no more along axis ", a_.axis, ", found ", describe(y));
    }
  }

  void top_k() const {
    const Tensor& x = input(0);
    expect_dtype(x, kNumbers);
    expect_dtype(y_, {DType::int64});
    expect_axis(x);
    expect_same_but_axis(x, y_);
  }

  void gather() const {
    const Tensor &x = input(0), &indices = input(1);
    expect_same_dtype(x, y_);
    expect_same_quant(x, y_);
    expect_dtype(indices, kIndices);
    expect_axis(x);
    std::vector<int> dims(x.dims, x.dims + a_.axis);
    dims.insert(dims.end(), indices.dims, indices.dims + indices.rank);
    dims.insert(dims.end(), x.dims + a_.axis + 1, x.dims + x.rank);
    if (!std::equal(dims.begin(), dims.end(), y_.dims, y_.dims + y_.rank))
      fail(kInvalid, "expected shape ", list(Span<const int>(dims)), ", found ", describe(y_));
  }

  void gather_elements() const {
    const Tensor &x = input(0), &indices = input(1);
    expect_same_dtype(x, y_);
    expect_same_quant(x, y_);
    expect_dtype(indices, kIndices);
    expect_axis(x);
    expect_same_shape(indices, y_);
    expect_within(x, indices);
  }

  // Axes other than a_.axis are no longer than those of x.
  void expect_within(const Tensor& x, const Tensor& t) const {
    expect_rank(t, x.rank);
    for (int i = 0; i < x.rank; ++i) {
      if (i != a_.axis && t.dims[i] > x.dims[i])
        fail(kInvalid, "expected at most ", x.dims[i], " along axis ", i, ", found ", describe(t));
    }
  }

  // The number of axes that an index tuple names: the last dimension of `indices`.
  int tuple_length(const Tensor& x, const Tensor& indices, int batch_dims) const {
    if (indices.rank < 1) fail(kInvalid, "expected indices of rank 1 or more, found ", describe(indices));
    const int length = indices.dims[indices.rank - 1];
    if (batch_dims > indices.rank - 1 || batch_dims + length > x.rank)
      fail(kInvalid, "expected index tuples of at most ", x.rank - batch_dims, ", found ", describe(indices));
    return length;
  }

  // indices.shape[:-1] + x.shape[first:], which gather_nd writes and scatter_nd reads.
  void expect_nd_shape(const Tensor& x, const Tensor& indices, int first, const Tensor& t) const {
    std::vector<int> dims(indices.dims, indices.dims + indices.rank - 1);
    dims.insert(dims.end(), x.dims + first, x.dims + x.rank);
    if (!std::equal(dims.begin(), dims.end(), t.dims, t.dims + t.rank))
      fail(kInvalid, "expected shape ", list(Span<const int>(dims)), ", found ", describe(t));
  }

  void gather_nd() const {
    const Tensor &x = input(0), &indices = input(1);
    expect_same_dtype(x, y_);
    expect_same_quant(x, y_);
    expect_dtype(indices, kIndices);
    const int length = tuple_length(x, indices, a_.batch_dims);
    for (int i = 0; i < a_.batch_dims; ++i) {
      if (x.dims[i] != indices.dims[i])
        fail(kInvalid, "expected equal batch dimensions, found ", describe(x), " and ", describe(indices));
    }
    expect_nd_shape(x, indices, a_.batch_dims + length, y_);
  }

  // What both scatters share. Only copies go to all dtypes.
  void scatter_dtypes() const {
    const Tensor &x = input(0), &updates = input(2);
    for (const Tensor* t : {&updates, &y_}) {
      expect_same_dtype(x, *t);
      expect_same_quant(x, *t);
    }
    expect_same_shape(x, y_);
    expect_dtype(input(1), kIndices);
    if (a_.scatter_reduction != 0) expect_dtype(x, kNumbers);
  }

  void scatter_elements() const {
    scatter_dtypes();
    expect_axis(y_);
    expect_same_shape(input(1), input(2));
    expect_within(input(0), input(1));
  }

  void scatter_nd() const {
    scatter_dtypes();
    const int length = tuple_length(y_, input(1), 0);
    expect_nd_shape(y_, input(1), length, input(2));
  }

  // ---- products ----

  void softmax() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
    expect_axis(x);
  }

  void matmul() const {
    const Tensor &a = input(0), &b = input(1);
    expect_dtype(a, {DType::float32, DType::int32});
    expect_same_dtype(a, b);
    expect_same_dtype(a, y_);
    if (a.rank < 2 || b.rank < 2 || a.dims[a.rank - 1] != b.dims[b.rank - 2])
      fail(kInvalid, "expected matrices that can be multiplied, found ", describe(a), " and ", describe(b));
    expect_broadcast({&a, &b}, 2);
    if (y_.dims[y_.rank - 2] != a.dims[a.rank - 2] || y_.dims[y_.rank - 1] != b.dims[b.rank - 1])
      fail(kInvalid, "expected the product of ", describe(a), " and ", describe(b), ", found ", describe(y_));
  }

  void normalize() const {
    const Tensor& x = input(0);
    expect_dtype(x, {DType::float32});
    expect_same_dtype(x, y_);
    expect_same_shape(x, y_);
    expect_axis(x);
    expect_mode(1);
    int64_t count = 1;
    for (int i = a_.axis; i < x.rank; ++i) count *= x.dims[i];
    for (size_t i = 1; i <= 2; ++i) {
      if (present(i)) expect_weight(input(i), DType::float32, {count});
    }
  }

  // ---- detection ----

  void non_max_suppression() const {
    const Tensor &boxes = input(0), &scores = input(1);
    expect_dtype(boxes, {DType::float32});
    expect_dtype(scores, {DType::float32});
    expect_dtype(y_, {DType::int64});
    expect_rank(boxes, 3);
    expect_rank(scores, 3);
    expect_shape(boxes, {scores.dims[0], scores.dims[2], 4});
    const int64_t rows = int64_t{scores.dims[0]} * scores.dims[1] * std::min(a_.max_per_class, scores.dims[2]);
    expect_shape(y_, {rows, 3});
  }

  void roi_align() const {
    const Tensor &x = input(0), &rois = input(1), &batch = input(2);
    for (const Tensor* t : {&x, &rois, &y_}) expect_dtype(*t, {DType::float32});
    expect_dtype(batch, kIndices);
    expect_rank(x, 4);
    expect_rank(y_, 4);
    expect_mode(1);
    if (a_.coordinates > 1) fail(kInvalid, "expected coordinates 0 or 1, found ", a_.coordinates);
    expect_shape(rois, {y_.dims[0], 4});
    expect_shape(batch, {y_.dims[0]});
    expect_shape(y_, {y_.dims[0], x.dims[1], y_.dims[2], y_.dims[3]});
  }
};

}  // namespace

void check_tensor_step(const Model& model, const Step& step) { TensorRules(model, step).check(); }

}  // namespace edgelane
