#include "bindings/cuda/call.hpp"
#include "core/implicit.hpp"

namespace kantorch::bindings {

void register_cuda_implicit(py::module_& m) {
  m.def(
      "implicit",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& eps,
         const Tensor& x, const Tensor& y, bool transposed, const Tensor& left, const Tensor& right,
         const CudaExecution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = implicit_problem<T>(problem, f, g, eps, x, y, transposed);
          double* const lambda = left.data<double>();
          double* const mu = right.data<double>();
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(implicit_workspace(made, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          implicit(made, lambda, mu, scratch, stream);
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("x"), py::arg("y"),
      py::arg("transposed"), py::arg("left"), py::arg("right"), py::arg("execution"));
}

}  // namespace kantorch::bindings
