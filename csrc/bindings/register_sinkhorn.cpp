#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/sinkhorn.hpp"

namespace kantorch::bindings {

void register_sinkhorn(py::module_& m) {
  m.def(
      "sinkhorn",
      [](const Problem& problem, const Tensor& strength, const py::object& f_init,
         const py::object& g_init, double tol, Index max_iter, const py::object& outputs,
         const Execution& execution) {
        const ScalingResult result = scaling_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = sinkhorn_problem<T>(problem, strength, f_init, g_init, tol, max_iter);
          call(execution, sinkhorn_workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) {
                 return sinkhorn(made, result, scratch, exec);
               });
        });
      },
      py::arg("problem"), py::arg("strength"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"),
      py::arg("max_iter"), py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
