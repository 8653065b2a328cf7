#include "bindings/cuda/call.hpp"
#include "core/point_gradient.hpp"

namespace kantorch::bindings {

void register_cuda_point_gradient(py::module_& m) {
  m.def(
      "point_gradient",
      [](const Problem& problem, const Tensor& f, const Tensor& g, const Tensor& eps,
         const Tensor& gradient, const CudaExecution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = point_gradient_problem<T>(problem, f, g, eps);
          T* const to = gradient.data<T>();
          const Cuda stream = execution.stream();
          const py::gil_scoped_release release;
          point_gradient(made, to, stream);
        });
      },
      py::arg("problem"), py::arg("f"), py::arg("g"), py::arg("eps"), py::arg("gradient"),
      py::arg("execution"));
}

}  // namespace kantorch::bindings
