#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/bound.hpp"

namespace kantorch::bindings {

void register_bound(py::module_& m) {
  m.def(
      "dual_bound",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& bound,
         const Execution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = bound_problem<T>(problem, f, g);
          double* const to = bound.data<double>();
          call(execution, dual_bound_workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) { return dual_bound(made, to, scratch, exec); });
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("bound"), py::arg("execution"));
}

}  // namespace kantorch::bindings
