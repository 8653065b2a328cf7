#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/distance_matrix.hpp"

namespace kantorch::bindings {

void register_distance_matrix(py::module_& m) {
  m.def(
      "distance_matrix",
      [](const Problem& problem, const Tensor& out, const Execution& execution) {
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const CostBatch<T> cost = problem.cost<T>();
          T* const to = out.data<T>();
          call(execution, distance_matrix_workspace(cost, execution.threads()),
               [&](void* scratch, const Cpu& exec) {
                 return distance_matrix(cost, to, scratch, exec);
               });
        });
      },
      py::arg("problem"), py::arg("out"), py::arg("execution"));
}

}  // namespace kantorch::bindings
