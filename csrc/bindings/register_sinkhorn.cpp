#include "bindings/call.hpp"
#include "bindings/dispatch.hpp"
#include "bindings/scaling_result.hpp"
#include "core/sinkhorn.hpp"

namespace kantorch::bindings {

void register_sinkhorn(py::module_& m) {
  m.def("sinkhorn_workspace", [](const std::string& dtype, const CostArgument& cost,
                                 const PointsArgument& points, double tol, int threads) {
    return dispatch(dtype, [&](auto tag) {
      using T = typename decltype(tag)::Scalar;
      SinkhornProblem<T> problem;
      problem.cost = cost_batch<T>(cost);
      problem.points = points_batch<T>(points);
      problem.tol = tol;
      return sinkhorn_workspace(problem, threads);
    });
  });
  m.def(
      "sinkhorn",
      [](const std::string& dtype, const CostArgument& cost, const PointsArgument& points,
         const VectorArgument& a, const VectorArgument& b, Index eps, const VectorArgument& f_init,
         const VectorArgument& g_init, double tol, Index max_iter, const ScalingOutputs& outputs,
         Index workspace, int threads) {
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const SinkhornProblem<T> problem{cost_batch<T>(cost),
                                           vector_batch<T>(a),
                                           vector_batch<T>(b),
                                           address<const double>(eps),
                                           vector_batch<double>(f_init),
                                           vector_batch<double>(g_init),
                                           tol,
                                           max_iter,
                                           points_batch<T>(points)};
          call(threads, [&](const Cpu& exec) {
            return sinkhorn(problem, scaling_result(outputs), address<void>(workspace), exec);
          });
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("points"), py::arg("a"), py::arg("b"),
      py::arg("eps"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"), py::arg("max_iter"),
      py::arg("outputs"), py::arg("workspace"), py::arg("threads"));
}

}  // namespace kantorch::bindings
