// A solver of the family of core/scaling.hpp under its name.
#pragma once

#include "bindings/cuda/call.hpp"
#include "core/scaling.hpp"

namespace kantorch::bindings {

// `workspace(problem, stream)` and `solve(problem, result, scratch, stream)` take problems of every dtype.
template <class Workspace, class Solve>
void register_cuda_scaling(py::module_& m, const char* name, Workspace workspace, Solve solve) {
  m.def(
      name,
      [=](const Problem& problem, const Tensor& strength, const py::object& f_init,
          const py::object& g_init, double tol, Index max_iter, const py::object& outputs,
          const CudaExecution& execution) {
        const ScalingResult result = scaling_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = scaling_problem<T>(problem, strength, f_init, g_init, tol, max_iter);
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(workspace(made, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          solve(made, result, scratch, stream);
        });
      },
      py::arg("problem"), py::arg("strength"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"),
      py::arg("max_iter"), py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
