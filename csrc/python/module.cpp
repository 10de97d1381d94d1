// edgelane._C: the runtime for Python. Conversions and the interpreter lock only; names, shapes and dtypes of a caller's arrays
// are checked in python/edgelane/runtime/session.py, which is the one user of _C.Session.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <optional>

#include "core/cores.hpp"
#include "core/cpu_features.hpp"
#include "core/status.hpp"
#include "kernels/registry.hpp"
#include "runtime/message.hpp"
#include "runtime/session.hpp"

namespace py = pybind11;

namespace {

using edgelane::Error;
using edgelane::GoldenRow;
using edgelane::ProfileRow;
using edgelane::Session;
using edgelane::StatusCode;
using edgelane::StepRow;
using edgelane::TensorSpec;

// Bytes of paths and names that are not UTF-8 must not turn an error into another one.
py::str text(const std::string& s) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "replace"));
}

py::dict describe(const TensorSpec& spec) {
  py::dict d;
  d["name"] = text(spec.name);
  d["shape"] = py::tuple(py::cast(spec.shape));
  d["dtype"] = edgelane::dtype_name(spec.dtype);
  d["variable_rows"] = spec.variable_rows;
  d["scale"] = spec.quantized ? py::object(py::float_(spec.quant.scale)) : py::none();
  d["zero_point"] = spec.quantized ? py::object(py::int_(spec.quant.zero_point)) : py::none();
  return d;
}

py::tuple describe(const StepRow& row) {
  return py::make_tuple(text(row.step), row.op, row.kernel.kernel, row.kernel.format, row.kernel.density, row.kernel.macs,
                        row.kernel.dense_macs);
}

py::list describe_all(const std::vector<TensorSpec>& specs) {
  py::list list;
  for (const TensorSpec& spec : specs) list.append(describe(spec));
  return list;
}

// Python threads may share a session; they take turns, because its activations exist once.
class PythonSession {
 public:
  PythonSession(const py::bytes& path, std::optional<int> threads, const std::string& isa, const std::string& cores,
                bool self_test, std::optional<uint64_t> memory_limit_bytes, std::optional<uint64_t> operation_limit) {
    const std::string name = path;
    edgelane::SessionOptions options;
    options.threads = threads;
    options.isa = isa;
    options.cores = cores;
    options.self_test = self_test;
    options.memory_limit_bytes = memory_limit_bytes;
    options.operation_limit = operation_limit;
    const py::gil_scoped_release release;
    session_ = Session::load(name, options);
  }

  const Session& session() const { return *session_; }

  std::vector<py::array> run(const std::vector<py::array>& inputs) {
    const std::vector<const void*> input_pointers = pointers(inputs);
    std::vector<py::array> outputs;
    std::vector<void*> output_pointers;
    for (const TensorSpec& spec : session_->outputs()) {
      outputs.emplace_back(py::dtype(edgelane::dtype_name(spec.dtype)), spec.shape);
      output_pointers.push_back(outputs.back().mutable_data());
    }
    const py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (session_->run(input_pointers.data(), output_pointers.data()) != StatusCode::ok) edgelane::fail_busy();
    return outputs;
  }

  py::list profile(const std::vector<py::array>& inputs, int repeats) {
    const std::vector<const void*> input_pointers = pointers(inputs);
    std::vector<ProfileRow> rows;
    {
      const py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);
      rows = session_->profile(input_pointers.data(), repeats);
    }
    py::list list;
    for (const ProfileRow& row : rows) list.append(describe(row) + py::make_tuple(row.time_us));
    return list;
  }

  py::list steps() const {
    py::list list;
    for (const StepRow& row : session_->steps()) list.append(describe(row));
    return list;
  }

  py::list compare_golden() {
    std::vector<GoldenRow> rows;
    {
      const py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);
      rows = session_->compare_golden();
    }
    py::list list;
    for (const GoldenRow& row : rows) list.append(py::make_tuple(text(row.output), row.agrees, row.error, text(row.message)));
    return list;
  }

 private:
  // The last guard before memory is read: the caller's checks must have made this true.
  std::vector<const void*> pointers(const std::vector<py::array>& inputs) const {
    const std::vector<TensorSpec>& specs = session_->inputs();
    if (inputs.size() != specs.size()) throw Error(StatusCode::invalid_argument, "expected one array for each input");
    std::vector<const void*> result;
    for (size_t i = 0; i < specs.size(); ++i) {
      const bool contiguous = (inputs[i].flags() & py::array::c_style) != 0;
      if (!contiguous || static_cast<size_t>(inputs[i].nbytes()) != specs[i].bytes) {
        throw Error(StatusCode::invalid_argument, "expected a contiguous array of " + std::to_string(specs[i].bytes) +
                                                      " bytes for input " + edgelane::quoted(specs[i].name) + ", found " +
                                                      std::to_string(inputs[i].nbytes()) + " bytes");
      }
      result.push_back(inputs[i].data());
    }
    return result;
  }

  std::unique_ptr<Session> session_;
  std::mutex mutex_;
};

void translate(std::exception_ptr exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const Error& error) {
    const py::object type = py::module_::import("edgelane.errors").attr("EdgelaneError");
    PyErr_SetObject(type.ptr(), text(error.what()).ptr());
  }
}

py::list kernels() {
  py::list list;
  for (const edgelane::KernelEntry& entry : edgelane::all_kernels()) {
    py::dict d;
    d["family"] = entry.family;
    d["name"] = entry.name;
    d["isa"] = edgelane::isa_name(entry.isa);
    list.append(d);
  }
  return list;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const edgelane::Isa isa : edgelane::available_isas()) names.emplace_back(edgelane::isa_name(isa));
  return names;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "The C++ runtime of edgelane; use edgelane.Session.";
  py::register_exception_translator(&translate);
  m.def("version", [] { return EDGELANE_VERSION; });
  m.def("cpu_name", &edgelane::cpu_name);
  m.def("available_isas", &available_isas);
  m.def("select_cores", &edgelane::select_cores, py::arg("request"));
  m.def("kernels", &kernels);
  py::class_<PythonSession>(m, "Session")
      .def(py::init<const py::bytes&, std::optional<int>, const std::string&, const std::string&, bool, std::optional<uint64_t>,
                    std::optional<uint64_t>>(),
           py::arg("path"), py::arg("threads"), py::arg("isa"), py::arg("cores"), py::arg("self_test"),
           py::arg("memory_limit_bytes"), py::arg("operation_limit"))
      .def("run", &PythonSession::run, py::arg("inputs"))
      .def("profile", &PythonSession::profile, py::arg("inputs"), py::arg("repeats"))
      .def("steps", &PythonSession::steps)
      .def("compare_golden", &PythonSession::compare_golden)
      .def_property_readonly("inputs", [](const PythonSession& s) { return describe_all(s.session().inputs()); })
      .def_property_readonly("outputs", [](const PythonSession& s) { return describe_all(s.session().outputs()); })
      .def_property_readonly("metadata", [](const PythonSession& s) { return text(s.session().metadata()); })
      .def_property_readonly("plan", [](const PythonSession& s) { return text(s.session().plan()); })
      .def_property_readonly("isa", [](const PythonSession& s) { return edgelane::isa_name(s.session().isa()); })
      .def_property_readonly("threads", [](const PythonSession& s) { return s.session().threads(); })
      .def_property_readonly("arena_bytes", [](const PythonSession& s) { return s.session().arena_bytes(); })
      .def_property_readonly("packed_bytes", [](const PythonSession& s) { return s.session().packed_bytes(); });
}
