#include "bindings/cuda/call.hpp"
#include "core/line.hpp"

namespace kantorch::bindings {

// Returns the best status, as nobody waits for the worst one.
void register_cuda_line(py::module_& m) {
  m.def(
      "line",
      [](const Problem& problem, const Tensor& x, const Tensor& y, bool squared,
         const py::object& outputs, const CudaExecution& execution) {
        const ExactResult result = exact_result(outputs);
        const Tensor x_order = execution.order(x), y_order = execution.order(y);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          auto made = line_problem<T>(problem, x, y, squared);
          made.x_order = vector_batch<std::int64_t>(x_order);
          made.y_order = vector_batch<std::int64_t>(y_order);
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(line_workspace(made, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          line(made, result, scratch, stream);
        });
        return static_cast<int>(Status::optimal);
      },
      py::arg("problem"), py::arg("x"), py::arg("y"), py::arg("squared"), py::arg("outputs"),
      py::arg("execution"));
}

}  // namespace kantorch::bindings
