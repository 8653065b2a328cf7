// A solver of the family of core/scaling.hpp under its name.
#pragma once

#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/scaling.hpp"

namespace kantorch::bindings {

// `workspace(problem, threads)` and `solve(problem, result, scratch, exec)` take problems of every dtype.
template <class Workspace, class Solve>
void register_scaling(py::module_& m, const char* name, Workspace workspace, Solve solve) {
  m.def(
      name,
      [=](const Problem& problem, const Tensor& strength, const py::object& f_init,
          const py::object& g_init, double tol, Index max_iter, const py::object& outputs,
          const Execution& execution) {
        const ScalingResult result = scaling_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = scaling_problem<T>(problem, strength, f_init, g_init, tol, max_iter);
          call(execution, workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) { return solve(made, result, scratch, exec); });
        });
      },
      py::arg("problem"), py::arg("strength"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"),
      py::arg("max_iter"), py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
