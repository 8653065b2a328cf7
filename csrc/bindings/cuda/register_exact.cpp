#include "bindings/cuda/call.hpp"
#include "core/exact.hpp"

namespace kantorch::bindings {

// Returns a good status: those of the problems are not there yet.
void register_cuda_exact(py::module_& m) {
  m.def(
      "exact",
      [](const Problem& problem, const py::object& f_init, const py::object& g_init, Index max_iter,
         const py::object& outputs, const CudaExecution& execution) {
        const ExactResult result = exact_result(outputs);
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto made = exact_problem<T>(problem, f_init, g_init, max_iter);
          const Cuda stream = execution.stream();
          const Tensor memory = execution.allocate(exact_workspace(made, stream));
          void* const scratch = memory.data<void>();
          const py::gil_scoped_release release;
          exact(made, result, scratch, stream);
        });
        return static_cast<int>(Status::optimal);
      },
      py::arg("problem"), py::arg("f_init"), py::arg("g_init"), py::arg("max_iter"),
      py::arg("outputs"), py::arg("execution"));
}

}  // namespace kantorch::bindings
