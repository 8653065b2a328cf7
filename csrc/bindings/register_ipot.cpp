#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/ipot.hpp"

namespace kantorch::bindings {

void register_ipot(py::module_& m) {
  m.def(
      "ipot",
      [](const Problem& problem, const Tensor& beta, const py::object& f_init,
         const py::object& g_init, double tol, Index max_iter, const py::object& outputs,
         const Execution& execution) {
        const ScalingResult result = scaling_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = ipot_problem<T>(problem, beta, f_init, g_init, tol, max_iter);
          call(execution, ipot_workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) { return ipot(made, result, scratch, exec); });
        });
      },
      py::arg("problem"), py::arg("strength"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"),
      py::arg("max_iter"), py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
