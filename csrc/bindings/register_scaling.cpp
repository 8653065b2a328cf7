#include "bindings/args.hpp"
#include "bindings/call.hpp"
#include "bindings/dispatch.hpp"
#include "core/bound.hpp"
#include "core/gibbs.hpp"
#include "core/implicit.hpp"
#include "core/point_gradient.hpp"

namespace kantorch::bindings {

void register_scaling(py::module_& m) {
  m.def(
      "gibbs",
      [](const std::string& dtype, const CostArgument& cost, const VectorArgument& f,
         const VectorArgument& g, const VectorArgument& x, const VectorArgument& y, Index eps,
         Index plan, int threads) {
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const GibbsProblem<T> problem{cost_batch<T>(cost),     vector_batch<double>(f),
                                        vector_batch<double>(g), vector_batch<T>(x),
                                        vector_batch<T>(y),      address<const double>(eps)};
          call(threads, [&](const Cpu& exec) { return gibbs(problem, address<T>(plan), exec); });
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("f"), py::arg("g"), py::arg("x"), py::arg("y"),
      py::arg("eps"), py::arg("plan"), py::arg("threads"));

  m.def("implicit_workspace", [](const std::string& dtype, const CostArgument& cost, int threads) {
    return dispatch(dtype, [&](auto tag) {
      using T = typename decltype(tag)::Scalar;
      ImplicitProblem<T> problem;
      problem.cost = cost_batch<T>(cost);
      return implicit_workspace(problem, threads);
    });
  });
  m.def(
      "implicit",
      [](const std::string& dtype, const CostArgument& cost, const VectorArgument& f,
         const VectorArgument& g, const VectorArgument& a, const VectorArgument& b, Index eps,
         const VectorArgument& x, const VectorArgument& y, bool transposed, Index lambda, Index mu,
         Index workspace, int threads) {
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const ImplicitProblem<T> problem{
              cost_batch<T>(cost),     vector_batch<double>(f), vector_batch<double>(g),
              vector_batch<T>(a),      vector_batch<T>(b),      address<const double>(eps),
              vector_batch<double>(x), vector_batch<double>(y), transposed};
          call(threads, [&](const Cpu& exec) {
            return implicit(problem, address<double>(lambda), address<double>(mu),
                            address<void>(workspace), exec);
          });
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("f"), py::arg("g"), py::arg("a"), py::arg("b"),
      py::arg("eps"), py::arg("x"), py::arg("y"), py::arg("transposed"), py::arg("out_lambda"),
      py::arg("out_mu"), py::arg("workspace"), py::arg("threads"));

  m.def(
      "dual_bound",
      [](const std::string& dtype, const CostArgument& cost, const PointsArgument& points,
         const VectorArgument& f, const VectorArgument& g, const VectorArgument& a,
         const VectorArgument& b, Index bound, int threads) {
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const BoundProblem<T> problem{cost_batch<T>(cost),     vector_batch<double>(f),
                                        vector_batch<double>(g), vector_batch<T>(a),
                                        vector_batch<T>(b),      points_batch<T>(points)};
          call(threads,
               [&](const Cpu& exec) { return dual_bound(problem, address<double>(bound), exec); });
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("points"), py::arg("f"), py::arg("g"),
      py::arg("a"), py::arg("b"), py::arg("bound"), py::arg("threads"));

  m.def(
      "point_gradient",
      [](const std::string& dtype, const CostArgument& cost, const PointsArgument& points,
         const VectorArgument& f, const VectorArgument& g, const VectorArgument& a,
         const VectorArgument& b, Index eps, Index out, int threads) {
        dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const PointGradientProblem<T> problem{points_batch<T>(points),
                                                cost[1],
                                                cost[2],
                                                cost[3],
                                                vector_batch<double>(f),
                                                vector_batch<double>(g),
                                                vector_batch<T>(a),
                                                vector_batch<T>(b),
                                                address<const double>(eps)};
          call(threads,
               [&](const Cpu& exec) { return point_gradient(problem, address<T>(out), exec); });
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("points"), py::arg("f"), py::arg("g"),
      py::arg("a"), py::arg("b"), py::arg("eps"), py::arg("out"), py::arg("threads"));
}

}  // namespace kantorch::bindings
