#include "bindings/cuda/call.hpp"
#include "core/gibbs.hpp"

namespace kantorch::bindings {

void register_cuda_gibbs(py::module_& m) {
  m.def(
      "gibbs",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& eps,
         const Tensor& plan, const CudaExecution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = gibbs_problem<T>(problem, f, g, eps);
          T* const to = plan.data<T>();
          const Cuda stream = execution.stream();
          const py::gil_scoped_release release;
          gibbs(made, to, stream);
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("plan"),
      py::arg("execution"));
}

}  // namespace kantorch::bindings
