#include "runtime/file_reader.hpp"

#include <algorithm>

#include "core/aligned_buffer.hpp"
#include "core/sha256.hpp"
#include "runtime/model_file.hpp"

namespace edgelane {
namespace {

constexpr uint8_t kMagic[8] = {0x89, 'L', 'A', 'N', 'E', 0x0D, 0x0A, 0x1A};
constexpr uint32_t kVersion = 2;
constexpr size_t kVersionAt = 8, kHeaderBytesAt = 12, kFileBytesAt = 16, kDigestAt = 24, kDigestedFrom = 56, kDataOffsetAt = 184;
constexpr size_t kPreambleBytes = kDigestedFrom;
constexpr const char* kSectionNames[8] = {"strings", "tensors", "steps", "io", "attributes", "cells", "metadata", "golden"};

template <class T>
T load(Span<const uint8_t> file, size_t offset) {
  return Section{"header", file}.read<T>(offset);
}

}  // namespace

void check_preamble(Span<const uint8_t> first_bytes, uint64_t actual_bytes) {
  const size_t compared = std::min(first_bytes.size(), sizeof(kMagic));
  if (compared == 0 || std::memcmp(first_bytes.data(), kMagic, compared) != 0) {
    fail(StatusCode::invalid_file, "not a .lane file: expected it to begin with \\x89LANE");
  }
  if (actual_bytes < kHeaderBytes || first_bytes.size() < kPreambleBytes) {
    fail(StatusCode::invalid_file, "the file is cut off: expected a header of ", kHeaderBytes, " bytes, found ", actual_bytes,
         " bytes");
  }
  const auto version = load<uint32_t>(first_bytes, kVersionAt);
  if (version > kVersion) {
    fail(StatusCode::invalid_file, "file version ", version, " is newer than ", kVersion,
         ", the newest that this edgelane reads: update edgelane or compile the model again");
  }
  if (version == 0) fail(StatusCode::invalid_file, "expected file version 1 or 2, found 0");
  const auto header_bytes = load<uint32_t>(first_bytes, kHeaderBytesAt);
  if (header_bytes != kHeaderBytes) {
    fail(StatusCode::invalid_file, "expected a header of ", kHeaderBytes, " bytes, found ", header_bytes);
  }
  const auto file_bytes = load<uint64_t>(first_bytes, kFileBytesAt);
  if (file_bytes != actual_bytes) {
    fail(StatusCode::invalid_file, file_bytes > actual_bytes ? "the file is cut off" : "the file is too long", ": expected ",
         file_bytes, " bytes, found ", actual_bytes);
  }
}

Sections read_header(Span<const uint8_t> file) {
  check_preamble(file.subspan(0, std::min(file.size(), kHeaderBytes)), file.size());
  const Sha256Digest found = sha256(file.data() + kDigestedFrom, file.size() - kDigestedFrom);
  if (std::memcmp(found.data(), file.data() + kDigestAt, found.size()) != 0) {
    fail(StatusCode::invalid_file, "the checksum does not match: the file was damaged or changed after it was written");
  }

  Sections sections;
  Section* const all[8] = {&sections.strings,    &sections.tensors, &sections.steps,    &sections.io,
                           &sections.attributes, &sections.cells,   &sections.metadata, &sections.golden};
  uint64_t end = kHeaderBytes;
  for (size_t i = 0; i < 8; ++i) {
    const auto offset = load<uint64_t>(file, kDigestedFrom + 16 * i);
    const auto bytes = load<uint64_t>(file, kDigestedFrom + 16 * i + 8);
    if (offset % kAlignment != 0) {
      fail(StatusCode::invalid_file, "expected the ", kSectionNames[i], " section at a multiple of 64, found offset ", offset);
    }
    if (offset < end) {
      fail(StatusCode::invalid_file, "expected the ", kSectionNames[i], " section at ", end, " or later, found offset ", offset);
    }
    if (offset > file.size() || bytes > file.size() - offset) {
      fail(StatusCode::invalid_file, "expected the ", kSectionNames[i], " section inside the ", file.size(),
           " bytes of the file, found ", bytes, " bytes at offset ", offset);
    }
    *all[i] = {kSectionNames[i], file.subspan(static_cast<size_t>(offset), static_cast<size_t>(bytes))};
    end = offset + bytes;
  }
  const auto data_offset = load<uint64_t>(file, kDataOffsetAt);
  if (data_offset % kAlignment != 0 || data_offset < end || data_offset > file.size()) {
    fail(StatusCode::invalid_file, "expected the data section at a multiple of 64 between ", end, " and ", file.size(),
         ", found offset ", data_offset);
  }
  sections.data = {"data", file.subspan(static_cast<size_t>(data_offset), file.size() - static_cast<size_t>(data_offset))};
  return sections;
}

namespace {

bool is_utf8(Span<const uint8_t> bytes) noexcept {
  for (size_t i = 0; i < bytes.size();) {
    const uint8_t lead = bytes[i];
    if (lead < 0x80) {
      ++i;
      continue;
    }
    // The lead byte gives the length; the smallest code point of each length rules out overlong forms.
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || bytes.size() - i < length) return false;
    uint32_t code_point = lead & (0xFF >> (length + 1));
    for (size_t k = 1; k < length; ++k) {
      if ((bytes[i + k] & 0xC0) != 0x80) return false;
      code_point = code_point << 6 | (bytes[i + k] & 0x3F);
    }
    constexpr uint32_t kSmallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    if (code_point < kSmallest[length] || code_point > 0x10FFFF || surrogate) return false;
    i += length;
  }
  return true;
}

}  // namespace

bool is_text(Span<const uint8_t> bytes) noexcept {
  return is_utf8(bytes) && std::find(bytes.begin(), bytes.end(), uint8_t{0}) == bytes.end();
}

std::string read_name(const Section& strings, uint32_t offset, uint32_t length, const std::string& what) {
  const Span<const uint8_t> bytes = strings.range(offset, length, what + " name");
  if (length > kMaxNameBytes) {
    fail(StatusCode::invalid_file, what, ": expected a name of at most ", kMaxNameBytes, " bytes, found ", length);
  }
  if (!is_text(bytes)) {
    fail(StatusCode::invalid_file, what, ": expected the name to be UTF-8 text, found other bytes");
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace edgelane
