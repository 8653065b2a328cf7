#include <algorithm>

#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/exact.hpp"

namespace kantorch::bindings {

// Returns the worst status.
void register_exact(py::module_& m) {
  m.def(
      "exact",
      [](const Problem& problem, const py::object& f_init, const py::object& g_init, Index max_iter,
         const py::object& outputs, const Execution& execution) {
        const ExactResult result = exact_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          ExactProblem<T> exact_problem;
          exact_problem.cost = problem.cost<T>();
          exact_problem.a = problem.a<T>();
          exact_problem.b = problem.b<T>();
          exact_problem.f_init = vector_batch<double>(f_init);
          exact_problem.g_init = vector_batch<double>(g_init);
          exact_problem.max_iter = max_iter;
          call(execution, exact_workspace(exact_problem, execution.threads()),
               [&](void* scratch, const Cpu& exec) {
                 return exact(exact_problem, result, scratch, exec);
               });
        });
        return *std::max_element(result.status, result.status + problem.number("batch"));
      },
      py::arg("problem"), py::arg("f_init"), py::arg("g_init"), py::arg("max_iter"),
      py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
