#include "runtime/agreement.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/message.hpp"

namespace edgelane {
namespace {

template <class T>
T load(const uint8_t* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}

// What element i stands for: the real value of a quantised one.
double real_value(const TensorSpec& spec, const uint8_t* data, size_t i) {
  switch (spec.dtype) {
    case DType::float32:
      return load<float>(data, i);
    case DType::int8:
      return spec.quantized ? dequantize(load<int8_t>(data, i), spec.quant) : load<int8_t>(data, i);
    case DType::int32:
      return load<int32_t>(data, i);
    case DType::int64:
      return static_cast<double>(load<int64_t>(data, i));
    case DType::boolean:
    case DType::uint8:
      return load<uint8_t>(data, i);
  }
  return 0.0;
}

// Element i as it stands in the array.
std::string text_of(const TensorSpec& spec, const uint8_t* data, size_t i) {
  if (spec.dtype == DType::float32) return message(load<float>(data, i));
  if (spec.dtype == DType::int64) return message(load<int64_t>(data, i));
  if (spec.dtype == DType::int8) return message(static_cast<int>(load<int8_t>(data, i)));
  return message(static_cast<int64_t>(real_value(spec, data, i)));
}

std::string index_text(const TensorSpec& spec, size_t i) {
  std::vector<int64_t> index(spec.shape.size());
  auto rest = static_cast<int64_t>(i);
  for (size_t axis = index.size(); axis-- > 0; rest /= spec.shape[axis]) index[axis] = rest % spec.shape[axis];
  return list(Span<const int64_t>(index.data(), index.size()));
}

struct Difference {
  double magnitude = 0.0, largest = 0.0;       // of the expected values, and of the differences
  double expected_square = 0.0, square = 0.0;  // sums
  size_t differing = 0;                        // elements whose bytes differ
  size_t first = 0, worst = 0;                 // the first of these, and one with the largest difference
  double relative() const { return magnitude > 0.0 ? largest / magnitude : largest; }
  double norm() const {
    if (square == 0.0) return 0.0;
    return expected_square > 0.0 ? std::sqrt(square / expected_square) : std::numeric_limits<double>::infinity();
  }
};

Difference measure(const TensorSpec& spec, size_t count, const uint8_t* expected, const uint8_t* found) {
  Difference d;
  const size_t element_bytes = dtype_bytes(spec.dtype);
  for (size_t i = 0; i < count; ++i) {
    if (std::memcmp(expected + i * element_bytes, found + i * element_bytes, element_bytes) != 0 && d.differing++ == 0)
      d.first = i;
    const double e = real_value(spec, expected, i), f = real_value(spec, found, i);
    double difference = std::fabs(e - f);
    if (!std::isfinite(e) || !std::isfinite(f)) {
      if (e == f || (std::isnan(e) && std::isnan(f))) continue;
      difference = std::numeric_limits<double>::infinity();
    } else {
      d.magnitude = std::max(d.magnitude, std::fabs(e));
      d.expected_square += e * e;
    }
    d.square += difference * difference;
    if (difference > d.largest) d.largest = difference, d.worst = i;
  }
  return d;
}

}  // namespace

GoldenRow compare_output(const TensorSpec& spec, GoldenRule rule, const uint8_t* expected, const uint8_t* found) {
  const size_t count = spec.bytes / dtype_bytes(spec.dtype);
  const Difference d = measure(spec, count, expected, found);
  GoldenRow row;
  row.output = spec.name;
  row.agrees = true;
  if (count == 0) return row;
  row.error = d.relative();
  const auto at = [&](size_t i) {
    return message(" at ", index_text(spec, i), ": expected ", text_of(spec, expected, i), ", found ", text_of(spec, found, i));
  };
  const bool real = spec.dtype == DType::float32 || spec.quantized;
  if (rule != GoldenRule::rounded && spec.dtype == DType::float32) {
    const double allowed = kFloatTolerance * (d.magnitude > 0.0 ? d.magnitude : 1.0);
    row.agrees = d.largest <= allowed;
    row.message = message("output ", quoted(spec.name), " differs most, by ", d.largest, ",", at(d.worst), "; allowed ", allowed);
  } else if (rule == GoldenRule::rounded && real) {
    row.agrees = d.norm() <= kRoundedTolerance;
    row.message = message("output ", quoted(spec.name), " differs by ", d.norm(), " of the expected norm, most", at(d.worst),
                          "; allowed ", kRoundedTolerance);
  } else {
    const double share = rule == GoldenRule::same ? 0.0 : rule == GoldenRule::close ? kCloseShare : kRoundedTolerance;
    const auto allowed = static_cast<size_t>(share * static_cast<double>(count));
    row.agrees = d.differing <= allowed;
    row.message = message("output ", quoted(spec.name), " differs in ", d.differing, " of ", count, " elements, first",
                          at(d.first), "; allowed ", allowed);
  }
  if (row.agrees) row.message.clear();
  return row;
}

}  // namespace edgelane
