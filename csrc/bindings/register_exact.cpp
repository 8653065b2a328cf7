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
          const auto made = exact_problem<T>(problem, f_init, g_init, max_iter);
          call(execution, exact_workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) { return exact(made, result, scratch, exec); });
        });
        return *std::max_element(result.status, result.status + problem.number("batch"));
      },
      py::arg("problem"), py::arg("f_init"), py::arg("g_init"), py::arg("max_iter"),
      py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
