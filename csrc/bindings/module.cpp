#include <pybind11/pybind11.h>

#include <string>

#include "bindings/call.hpp"
#include "cpu/simd/level.hpp"

namespace py = pybind11;

namespace kantorch::bindings {
void register_bound(py::module_& m);
void register_check(py::module_& m);
void register_exact(py::module_& m);
void register_gibbs(py::module_& m);
void register_implicit(py::module_& m);
void register_ipot(py::module_& m);
void register_line(py::module_& m);
void register_distance_matrix(py::module_& m);
void register_point_gradient(py::module_& m);
void register_sinkhorn(py::module_& m);
}  // namespace kantorch::bindings

namespace {

using kantorch::cpu::Level;

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

void set_simd_level(const std::string& name) {
  for (const Level level : {Level::baseline, Level::avx2, Level::avx512}) {
    if (name != kantorch::cpu::level_name(level)) continue;
    if (!kantorch::cpu::force_level(level))
      throw py::value_error("this machine or build has no " + name);
    return;
  }
  throw py::value_error("level must be baseline, avx2 or avx512, got " + name);
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  namespace bindings = kantorch::bindings;
  m.doc() = "The compiled core of kantorch. Private: arguments are trusted, see kantorch.ops.";
  bindings::Signals::main_thread() =
      py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();

  m.attr("__version__") = KANTORCH_VERSION;
  m.attr("compiler") = compiler();
  m.def("simd_level", [] { return kantorch::cpu::level_name(kantorch::cpu::level()); });
  m.def("set_simd_level", set_simd_level, py::arg("level"));

  bindings::register_bound(m);
  bindings::register_check(m);
  bindings::register_exact(m);
  bindings::register_gibbs(m);
  bindings::register_implicit(m);
  bindings::register_ipot(m);
  bindings::register_line(m);
  bindings::register_distance_matrix(m);
  bindings::register_point_gradient(m);
  bindings::register_sinkhorn(m);
}
