#include <algorithm>

#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/line.hpp"

namespace kantorch::bindings {

// Returns the worst status.
void register_line(py::module_& m) {
  m.def(
      "line",
      [](const Problem& problem, const Tensor& x, const Tensor& y, bool squared,
         const py::object& outputs, const Execution& execution) {
        const ExactResult result = exact_result(outputs);
        const Index batch = problem.number("batch");
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = line_problem<T>(problem, x, y, squared);
          call(execution, [&](const Cpu& exec) { return line(made, result, exec); });
        });
        return *std::max_element(result.status, result.status + batch);
      },
      py::arg("problem"), py::arg("x"), py::arg("y"), py::arg("squared"), py::arg("outputs"),
      py::arg("execution"));
}

}  // namespace kantorch::bindings
