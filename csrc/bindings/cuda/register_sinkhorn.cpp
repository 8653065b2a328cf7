#include "bindings/cuda/call.hpp"
#include "core/sinkhorn.hpp"

namespace kantorch::bindings {

void register_cuda_sinkhorn(py::module_& m) {
  m.def(
      "sinkhorn",
      [](const Problem& problem, const Tensor& strength, const py::object& f_init,
         const py::object& g_init, double tol, Index max_iter, const py::object& outputs,
         const CudaExecution& execution) {
        const ScalingResult result = scaling_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          SinkhornProblem<T> sinkhorn_problem;
          sinkhorn_problem.cost = problem.cost<T>();
          sinkhorn_problem.a = problem.a<T>();
          sinkhorn_problem.b = problem.b<T>();
          sinkhorn_problem.eps = strength.data<const double>();
          sinkhorn_problem.f_init = vector_batch<double>(f_init);
          sinkhorn_problem.g_init = vector_batch<double>(g_init);
          sinkhorn_problem.tol = tol;
          sinkhorn_problem.max_iter = max_iter;
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(sinkhorn_workspace(sinkhorn_problem, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          sinkhorn(sinkhorn_problem, result, scratch, stream);
        });
      },
      py::arg("problem"), py::arg("strength"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"),
      py::arg("max_iter"), py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
