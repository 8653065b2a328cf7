#include <algorithm>

#include "bindings/args.hpp"
#include "bindings/call.hpp"
#include "bindings/dispatch.hpp"
#include "bindings/exact_result.hpp"
#include "core/exact.hpp"

namespace kantorch::bindings {
namespace {

template <class T>
ExactProblem<T> exact_problem(const CostArgument& cost, const VectorArgument& a,
                              const VectorArgument& b, const VectorArgument& f_init,
                              const VectorArgument& g_init, Index max_iter) {
  return {cost_batch<T>(cost),          vector_batch<T>(a),           vector_batch<T>(b),
          vector_batch<double>(f_init), vector_batch<double>(g_init), max_iter};
}

}  // namespace

void register_exact(py::module_& m) {
  m.def("exact_workspace", [](const std::string& dtype, const CostArgument& cost, int threads) {
    return dispatch(dtype, [&](auto tag) {
      using T = typename decltype(tag)::Scalar;
      return exact_workspace(exact_problem<T>(cost, {}, {}, {}, {}, -1), threads);
    });
  });
  m.def(
      "exact",
      [](const std::string& dtype, const CostArgument& cost, const VectorArgument& a,
         const VectorArgument& b, const VectorArgument& f_init, const VectorArgument& g_init,
         Index max_iter, const std::array<Index, 9>& outputs, Index workspace, int threads) {
        const ExactResult result = exact_result(outputs);
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const auto problem = exact_problem<T>(cost, a, b, f_init, g_init, max_iter);
          call(threads, [&](const Cpu& exec) {
            return exact(problem, result, address<void>(workspace), exec);
          });
        });
        return *std::max_element(result.status, result.status + cost[1]);
      },
      py::arg("dtype"), py::arg("cost"), py::arg("a"), py::arg("b"), py::arg("f_init"),
      py::arg("g_init"), py::arg("max_iter"), py::arg("outputs"), py::arg("workspace"),
      py::arg("threads"));
}

}  // namespace kantorch::bindings
