#include <algorithm>

#include "bindings/args.hpp"
#include "bindings/call.hpp"
#include "bindings/dispatch.hpp"
#include "bindings/exact_result.hpp"
#include "core/line.hpp"

namespace kantorch::bindings {

void register_line(py::module_& m) {
  m.def(
      "line",
      [](const std::string& dtype, const std::array<Index, 3>& shape, const VectorArgument& x,
         const VectorArgument& y, const VectorArgument& a, const VectorArgument& b, bool squared,
         const std::array<Index, 9>& outputs, int threads) {
        const ExactResult result = exact_result(outputs);
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const LineProblem<T> problem{
              shape[0],           shape[1],           shape[2],           vector_batch<T>(x),
              vector_batch<T>(y), vector_batch<T>(a), vector_batch<T>(b), squared};
          call(threads, [&](const Cpu& exec) { return line(problem, result, exec); });
        });
        return *std::max_element(result.status, result.status + shape[0]);
      },
      py::arg("dtype"), py::arg("shape"), py::arg("x"), py::arg("y"), py::arg("a"), py::arg("b"),
      py::arg("squared"), py::arg("outputs"), py::arg("threads"));
}

}  // namespace kantorch::bindings
