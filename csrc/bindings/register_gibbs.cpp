#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/gibbs.hpp"

namespace kantorch::bindings {

void register_gibbs(py::module_& m) {
  m.def(
      "gibbs",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& eps,
         const Tensor& plan, const Execution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = gibbs_problem<T>(problem, f, g, eps);
          T* const to = plan.data<T>();
          call(execution, gibbs_workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) { return gibbs(made, to, scratch, exec); });
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("plan"),
      py::arg("execution"));
}

}  // namespace kantorch::bindings
