// The C interface over Session: checks the caller's arguments, and turns exceptions into status codes.
#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "edgelane/edgelane.h"
#include "runtime/message.hpp"
#include "runtime/session.hpp"

static_assert(EDGELANE_MAX_RANK == edgelane::kMaxRank);
static_assert(EDGELANE_UINT8 == static_cast<int>(edgelane::DType::uint8));
static_assert(EDGELANE_SELF_TEST_FAILED == static_cast<int>(edgelane::StatusCode::self_test_failed));

struct edgelane_session {
  std::unique_ptr<edgelane::Session> session;
  std::vector<edgelane::ProfileRow> profile;  // holds the strings of profile_rows
  std::vector<edgelane_profile_row> profile_rows;
};

namespace {

using edgelane::Error;
using edgelane::fail;
using edgelane::Session;
using edgelane::StatusCode;
using edgelane::TensorSpec;

// A fixed buffer, so that reporting a failure cannot fail itself.
thread_local char last_error[1024] = "";

edgelane_status report(StatusCode code, const char* text) noexcept {
  std::strncpy(last_error, text, sizeof(last_error) - 1);
  last_error[sizeof(last_error) - 1] = '\0';
  return static_cast<edgelane_status>(code);
}

template <class F>
edgelane_status guarded(const F& f) noexcept {
  try {
    f();
    return EDGELANE_OK;
  } catch (const Error& error) {
    return report(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return report(StatusCode::out_of_memory, "not enough memory");
  } catch (const std::exception& error) {
    return report(StatusCode::unsupported, error.what());
  }
}

void expect_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) fail(StatusCode::invalid_argument, "expected ", name, ", found NULL");
}

edgelane::SessionOptions options_of(const edgelane_options* options) {
  edgelane::SessionOptions result;
  if (options == nullptr) return result;
  if (options->threads != 0) result.threads = options->threads;
  if (options->isa != nullptr) result.isa = options->isa;
  if (options->cores != nullptr) result.cores = options->cores;
  result.self_test = options->self_test != 0;
  if (options->memory_limit_bytes != 0) result.memory_limit_bytes = options->memory_limit_bytes;
  if (options->operation_limit != 0) result.operation_limit = options->operation_limit;
  return result;
}

template <class Load>
edgelane_status load_into(edgelane_session** session, const Load& load) noexcept {
  if (session != nullptr) *session = nullptr;
  return guarded([&] {
    expect_pointer(session, "a place for the session");
    auto handle = std::make_unique<edgelane_session>();
    handle->session = load();
    *session = handle.release();
  });
}

edgelane_status write_info(const edgelane_session* session, bool input, size_t index, edgelane_tensor_info* info) noexcept {
  return guarded([&] {
    expect_pointer(session, "a session");
    expect_pointer(info, "a place for the tensor info");
    const std::vector<TensorSpec>& specs = input ? session->session->inputs() : session->session->outputs();
    if (index >= specs.size()) {
      fail(StatusCode::invalid_argument, "expected an ", input ? "input" : "output", " index below ", specs.size(), ", found ",
           index);
    }
    const TensorSpec& spec = specs[index];
    *info = {};
    info->name = spec.name.c_str();
    info->dtype = static_cast<edgelane_dtype>(spec.dtype);
    info->rank = static_cast<int>(spec.shape.size());
    std::copy(spec.shape.begin(), spec.shape.end(), info->shape);
    info->bytes = spec.bytes;
    info->quantized = spec.quantized ? 1 : 0;
    info->zero_point = spec.quant.zero_point;
    info->scale = spec.quant.scale;
    info->variable_rows = spec.variable_rows ? 1 : 0;
  });
}

void expect_arrays(const std::vector<TensorSpec>& specs, const void* const* arrays, size_t count, const char* kind) {
  if (count != specs.size()) fail(StatusCode::invalid_argument, "expected ", specs.size(), " ", kind, " arrays, found ", count);
  if (count != 0) expect_pointer(arrays, kind);
  for (size_t i = 0; i < count; ++i) {
    if (arrays[i] == nullptr)
      fail(StatusCode::invalid_argument, "expected an array for ", kind, " ", edgelane::quoted(specs[i].name), ", found NULL");
  }
}

}  // namespace

const char* edgelane_version(void) noexcept { return EDGELANE_VERSION; }

const char* edgelane_last_error(void) noexcept { return last_error; }

edgelane_status edgelane_load(const char* path, const edgelane_options* options, edgelane_session** session) noexcept {
  return load_into(session, [&] {
    expect_pointer(path, "a path");
    return Session::load(path, options_of(options));
  });
}

edgelane_status edgelane_load_memory(const void* data, size_t bytes, const edgelane_options* options,
                                     edgelane_session** session) noexcept {
  return load_into(session, [&] {
    expect_pointer(data, "a file in memory");
    edgelane::AlignedBuffer<uint8_t> file(bytes);
    if (bytes != 0) std::memcpy(file.data(), data, bytes);
    return Session::load(std::move(file), "model in memory", options_of(options));
  });
}

void edgelane_free(edgelane_session* session) noexcept { delete session; }

size_t edgelane_input_count(const edgelane_session* session) noexcept {
  return session == nullptr ? 0 : session->session->inputs().size();
}

size_t edgelane_output_count(const edgelane_session* session) noexcept {
  return session == nullptr ? 0 : session->session->outputs().size();
}

edgelane_status edgelane_input_info(const edgelane_session* session, size_t index, edgelane_tensor_info* info) noexcept {
  return write_info(session, true, index, info);
}

edgelane_status edgelane_output_info(const edgelane_session* session, size_t index, edgelane_tensor_info* info) noexcept {
  return write_info(session, false, index, info);
}

edgelane_status edgelane_run(edgelane_session* session, const void* const* inputs, size_t input_count, void* const* outputs,
                             size_t output_count) noexcept {
  return guarded([&] {
    expect_pointer(session, "a session");
    Session& s = *session->session;
    expect_arrays(s.inputs(), inputs, input_count, "input");
    expect_arrays(s.outputs(), outputs, output_count, "output");
    if (s.run(inputs, outputs) != StatusCode::ok) edgelane::fail_busy();
  });
}

edgelane_status edgelane_profile(edgelane_session* session, const void* const* inputs, size_t input_count, int repeats,
                                 const edgelane_profile_row** rows, size_t* row_count) noexcept {
  return guarded([&] {
    expect_pointer(session, "a session");
    expect_pointer(rows, "a place for the rows");
    expect_pointer(row_count, "a place for the number of rows");
    expect_arrays(session->session->inputs(), inputs, input_count, "input");
    session->profile = session->session->profile(inputs, repeats);
    session->profile_rows.clear();
    for (const edgelane::ProfileRow& row : session->profile) {
      session->profile_rows.push_back({row.step.c_str(), row.op.c_str(), row.kernel.kernel.c_str(), row.kernel.format.c_str(),
                                       row.kernel.density, row.kernel.macs, row.kernel.dense_macs, row.time_us});
    }
    *rows = session->profile_rows.data();
    *row_count = session->profile_rows.size();
  });
}

edgelane_status edgelane_check_golden(edgelane_session* session, double* error, int* present) noexcept {
  return guarded([&] {
    expect_pointer(session, "a session");
    expect_pointer(error, "a place for the error");
    expect_pointer(present, "a place for the presence");
    const std::optional<double> found = session->session->check_golden();
    *present = found.has_value() ? 1 : 0;
    *error = found.value_or(0.0);
  });
}

const char* edgelane_metadata(const edgelane_session* session) noexcept {
  return session == nullptr ? "" : session->session->metadata().c_str();
}

const char* edgelane_plan(const edgelane_session* session) noexcept {
  return session == nullptr ? "" : session->session->plan().c_str();
}

const char* edgelane_isa(const edgelane_session* session) noexcept {
  return session == nullptr ? "" : edgelane::isa_name(session->session->isa());
}

int edgelane_threads(const edgelane_session* session) noexcept { return session == nullptr ? 0 : session->session->threads(); }
