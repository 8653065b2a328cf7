#include <pybind11/pybind11.h>

#include "cuda/runtime/device.hpp"

namespace py = pybind11;

namespace kantorch::bindings {
void register_cuda_bound(py::module_& m);
void register_cuda_distance_matrix(py::module_& m);
void register_cuda_exact(py::module_& m);
void register_cuda_gibbs(py::module_& m);
void register_cuda_implicit(py::module_& m);
void register_cuda_ipot(py::module_& m);
void register_cuda_line(py::module_& m);
void register_cuda_point_gradient(py::module_& m);
void register_cuda_sinkhorn(py::module_& m);
}  // namespace kantorch::bindings

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  namespace bindings = kantorch::bindings;
  m.doc() = "The kernels of kantorch on GPUs. Private: arguments are trusted, see kantorch.ops.";
  m.attr("compiler") = kantorch::cuda::compiler();
  m.attr("emulated") = kantorch::cuda::is_emulated();
  m.def("why_unavailable", kantorch::cuda::why_unavailable);
  bindings::register_cuda_bound(m);
  bindings::register_cuda_distance_matrix(m);
  bindings::register_cuda_exact(m);
  bindings::register_cuda_gibbs(m);
  bindings::register_cuda_implicit(m);
  bindings::register_cuda_ipot(m);
  bindings::register_cuda_line(m);
  bindings::register_cuda_point_gradient(m);
  bindings::register_cuda_sinkhorn(m);
}
