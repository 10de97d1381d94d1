// The sections of a .lane file as ranges of bytes that are known to lie inside it, and reads that cannot leave them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "core/span.hpp"
#include "runtime/message.hpp"

namespace edgelane {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the reader copies little-endian numbers as they are");

// A range of the file. Reading past its end is an error of the file, whatever was checked before.
struct Section {
  const char* name = "";
  Span<const uint8_t> bytes;

  template <class T>
  T read(size_t offset) const {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) {
      fail(StatusCode::invalid_file, "expected ", sizeof(T), " bytes at offset ", offset, " of the ", name,
           " section, found its end at ", bytes.size());
    }
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
  }

  Span<const uint8_t> range(uint64_t offset, uint64_t count, const std::string& what) const {
    if (offset > bytes.size() || count > bytes.size() - offset) {
      fail(StatusCode::invalid_file, what, ": expected ", count, " bytes at offset ", offset, " of the ", name,
           " section, which has ", bytes.size());
    }
    return bytes.subspan(static_cast<size_t>(offset), static_cast<size_t>(count));
  }

  size_t records(size_t record_bytes) const {
    if (bytes.size() % record_bytes != 0) {
      fail(StatusCode::invalid_file, "expected the ", name, " section to hold records of ", record_bytes, " bytes, found ",
           bytes.size(), " bytes");
    }
    return bytes.size() / record_bytes;
  }
};

constexpr size_t kHeaderBytes = 192;
constexpr size_t kTensorBytes = 96, kStepBytes = 32, kIoBytes = 4, kAttributeBytes = 16, kCellBytes = 8, kGoldenBytes = 24;

struct Sections {
  Section strings, tensors, steps, io, attributes, cells, metadata, golden, data;
};

// Magic, version, sizes, checksum, and the order and bounds of the sections.
Sections read_header(Span<const uint8_t> file);

// The first kHeaderBytes bytes, or as many as there are: is this a .lane file of a version that can be read, and of
// `actual_bytes`?
void check_preamble(Span<const uint8_t> first_bytes, uint64_t actual_bytes);

// Well-formed UTF-8 without NUL, which would end a string of the C interface early.
bool is_text(Span<const uint8_t> bytes) noexcept;

// Text of at most kMaxNameBytes bytes; `what` names the record in the message.
std::string read_name(const Section& strings, uint32_t offset, uint32_t length, const std::string& what);

}  // namespace edgelane
