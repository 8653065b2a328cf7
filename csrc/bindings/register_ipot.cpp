#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/ipot.hpp"

namespace kantorch::bindings {

void register_ipot(py::module_& m) {
  m.def(
      "ipot",
      [](const Problem& problem, const Tensor& strength, const py::object& f_init,
         const py::object& g_init, double tol, Index max_iter, const py::object& outputs,
         const Execution& execution) {
        const ScalingResult result = scaling_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          IpotProblem<T> ipot_problem;
          ipot_problem.cost = problem.cost<T>();
          ipot_problem.a = problem.a<T>();
          ipot_problem.b = problem.b<T>();
          ipot_problem.beta = strength.data<const double>();
          ipot_problem.f_init = vector_batch<double>(f_init);
          ipot_problem.g_init = vector_batch<double>(g_init);
          ipot_problem.tol = tol;
          ipot_problem.max_iter = max_iter;
          call(execution, ipot_workspace(ipot_problem, execution.threads()),
               [&](void* scratch, const Cpu& exec) {
                 return ipot(ipot_problem, result, scratch, exec);
               });
        });
      },
      py::arg("problem"), py::arg("strength"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"),
      py::arg("max_iter"), py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
