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
          ImplicitProblem<T> implicit_problem;
          implicit_problem.cost = problem.cost<T>();
          implicit_problem.f = vector_batch<double>(f);
          implicit_problem.g = vector_batch<double>(g);
          implicit_problem.a = problem.a<T>();
          implicit_problem.b = problem.b<T>();
          implicit_problem.eps = eps.data<const double>();
          implicit_problem.x = vector_batch<double>(x);
          implicit_problem.y = vector_batch<double>(y);
          implicit_problem.transposed = transposed;
          double* const lambda = left.data<double>();
          double* const mu = right.data<double>();
          call(execution, implicit_workspace(implicit_problem, execution.threads()),
               [&](void* scratch, const Cpu& exec) {
                 return implicit(implicit_problem, lambda, mu, scratch, exec);
               });
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("x"), py::arg("y"),
      py::arg("transposed"), py::arg("left"), py::arg("right"), py::arg("execution"));
}

}  // namespace kantorch::bindings
