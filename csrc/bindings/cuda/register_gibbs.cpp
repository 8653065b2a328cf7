#include "bindings/cuda/call.hpp"
#include "core/gibbs.hpp"

namespace kantorch::bindings {

// The factors x and y are the problem's a and b.
void register_cuda_gibbs(py::module_& m) {
  m.def(
      "gibbs",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& eps,
         const Tensor& plan, const CudaExecution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          GibbsProblem<T> gibbs_problem;
          gibbs_problem.cost = problem.cost<T>();
          gibbs_problem.f = vector_batch<double>(f);
          gibbs_problem.g = vector_batch<double>(g);
          gibbs_problem.x = problem.a<T>();
          gibbs_problem.y = problem.b<T>();
          gibbs_problem.eps = eps.data<const double>();
          T* const to = plan.data<T>();
          const Cuda stream = execution.stream();
          const py::gil_scoped_release release;
          gibbs(gibbs_problem, to, stream);
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("plan"),
      py::arg("execution"));
}

}  // namespace kantorch::bindings
