#include "bindings/cuda/call.hpp"
#include "core/bound.hpp"

namespace kantorch::bindings {

void register_cuda_bound(py::module_& m) {
  m.def(
      "dual_bound",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& bound,
         const CudaExecution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = bound_problem<T>(problem, f, g);
          double* const to = bound.data<double>();
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(dual_bound_workspace(made, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          dual_bound(made, to, scratch, stream);
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("bound"), py::arg("execution"));
}

}  // namespace kantorch::bindings
