#include "bindings/cuda/call.hpp"
#include "core/distance_matrix.hpp"

namespace kantorch::bindings {

void register_cuda_distance_matrix(py::module_& m) {
  m.def(
      "distance_matrix",
      [](const Problem& problem, const Tensor& out, const CudaExecution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const CostBatch<T> cost = problem.cost<T>();
          T* const to = out.data<T>();
          const Cuda stream = execution.stream();
          const py::gil_scoped_release release;
          distance_matrix(cost, to, stream);
        });
      },
      py::arg("problem"), py::arg("out"), py::arg("execution"));
}

}  // namespace kantorch::bindings
