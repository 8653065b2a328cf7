#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/implicit.hpp"

namespace kantorch::bindings {

void register_implicit(py::module_& m) {
  m.def(
      "implicit",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& eps,
         const Tensor& x, const Tensor& y, bool transposed, const Tensor& left, const Tensor& right,
         const Execution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = implicit_problem<T>(problem, f, g, eps, x, y, transposed);
          double* const lambda = left.data<double>();
          double* const mu = right.data<double>();
          call(execution, implicit_workspace(made, execution.threads()),
               [&](void* scratch, const Cpu& exec) {
                 return implicit(made, lambda, mu, scratch, exec);
               });
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("x"), py::arg("y"),
      py::arg("transposed"), py::arg("left"), py::arg("right"), py::arg("execution"));
}

}  // namespace kantorch::bindings
