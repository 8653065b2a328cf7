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
          BoundProblem<T> bound_problem;
          bound_problem.cost = problem.cost<T>();
          bound_problem.f = vector_batch<double>(f);
          bound_problem.g = vector_batch<double>(g);
          bound_problem.a = problem.a<T>();
          bound_problem.b = problem.b<T>();
          double* const to = bound.data<double>();
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(dual_bound_workspace(bound_problem, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          dual_bound(bound_problem, to, scratch, stream);
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("bound"), py::arg("execution"));
}

}  // namespace kantorch::bindings
