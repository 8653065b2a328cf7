#include "bindings/call.hpp"
#include "bindings/dispatch.hpp"
#include "bindings/scaling_result.hpp"
#include "core/ipot.hpp"

namespace kantorch::bindings {

void register_ipot(py::module_& m) {
  m.def("ipot_workspace", [](const std::string& dtype, const CostArgument& cost,
                             const PointsArgument& points, double tol, int threads) {
    return dispatch(dtype, [&](auto tag) {
      using T = typename decltype(tag)::Scalar;
      IpotProblem<T> problem;
      problem.cost = cost_batch<T>(cost);
      problem.points = points_batch<T>(points);
      problem.tol = tol;
      return ipot_workspace(problem, threads);
    });
  });
  m.def(
      "ipot",
      [](const std::string& dtype, const CostArgument& cost, const PointsArgument& points,
         const VectorArgument& a, const VectorArgument& b, Index beta, const VectorArgument& f_init,
         const VectorArgument& g_init, double tol, Index max_iter, const ScalingOutputs& outputs,
         Index workspace, int threads) {
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const IpotProblem<T> problem{cost_batch<T>(cost),
                                       vector_batch<T>(a),
                                       vector_batch<T>(b),
                                       address<const double>(beta),
                                       vector_batch<double>(f_init),
                                       vector_batch<double>(g_init),
                                       tol,
                                       max_iter,
                                       points_batch<T>(points)};
          call(threads, [&](const Cpu& exec) {
            return ipot(problem, scaling_result(outputs), address<void>(workspace), exec);
          });
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("points"), py::arg("a"), py::arg("b"),
      py::arg("beta"), py::arg("f_init"), py::arg("g_init"), py::arg("tol"), py::arg("max_iter"),
      py::arg("outputs"), py::arg("workspace"), py::arg("threads"));
}

}  // namespace kantorch::bindings
