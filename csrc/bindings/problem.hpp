// A problem as kantorch/ops/_layout.py hands it over, and results, read by the names of their fields.
#pragma once

#include "bindings/dispatch.hpp"
#include "core/bound.hpp"
#include "core/exact.hpp"
#include "core/gibbs.hpp"
#include "core/implicit.hpp"
#include "core/line.hpp"
#include "core/point_gradient.hpp"
#include "core/scaling.hpp"
#include "core/view.hpp"

namespace kantorch::bindings {

// Contiguous vectors (n) or (B, n), or None.
template <class T>
VectorBatch<T> vector_batch(const Tensor& vectors) {
  if (!vectors.given()) return {};
  return {vectors.data<const T>(), vectors.batch_stride(1)};
}

// `Problem` of the Python layer, which has one of `cost` and `points`, or, on a line, neither.
class Problem : public py::object {
 public:
  PYBIND11_OBJECT_DEFAULT(Problem, py::object, trusted)

  Tensor tensor(const char* name) const { return py::object(attr(name)); }
  Index number(const char* name) const { return attr(name).cast<Index>(); }

  // Calls body(Tag<T>) for the dtype that is computed in.
  template <class Body>
  void dispatch(Body&& body) const {
    bindings::dispatch(tensor("a"), body);
  }

  template <class T>
  CostBatch<T> cost() const {
    CostBatch<T> batch;
    batch.batch = number("batch");
    batch.rows = number("n");
    batch.cols = number("m");
    if (batch.rows == 0 || batch.cols == 0) throw py::value_error("cost must not be empty");
    batch.row_stride = batch.cols;
    const py::object points = attr("points");
    if (const Tensor cost = tensor("cost"); cost.given()) {
      batch.data = cost.data<const T>();
      batch.batch_stride = cost.batch_stride(2);
      batch.row_stride = cost.stride(-2);
    } else if (!points.is_none()) {
      const Tensor x = py::object(points.attr("x")), y = py::object(points.attr("y_panels"));
      batch.points = {x.data<const T>(), y.data<const T>(),
                      x.size(-1),        x.batch_stride(2),
                      y.batch_stride(3), static_cast<Metric>(points.attr("metric").cast<int>())};
    }
    return batch;
  }

  template <class T>
  VectorBatch<T> a() const {
    return vector_batch<T>(tensor("a"));
  }
  template <class T>
  VectorBatch<T> b() const {
    return vector_batch<T>(tensor("b"));
  }
};

// The address of a contiguous tensor of a NamedTuple.
template <class T>
T* field(const py::object& results, const char* name) {
  return Tensor(py::object(results.attr(name))).data<T>();
}

inline ExactResult exact_result(const py::object& to) {
  ExactResult result;
  result.value = field<double>(to, "value");
  result.f = field<double>(to, "f");
  result.g = field<double>(to, "g");
  result.plan_row = field<std::int64_t>(to, "plan_row");
  result.plan_col = field<std::int64_t>(to, "plan_col");
  result.plan_mass = field<double>(to, "plan_mass");
  result.marginal_error = field<double>(to, "marginal_error");
  result.n_iter = field<std::int64_t>(to, "n_iter");
  result.status = field<std::int32_t>(to, "status");
  return result;
}

inline ScalingResult scaling_result(const py::object& to) {
  ScalingResult result;
  result.f = field<double>(to, "f");
  result.g = field<double>(to, "g");
  result.eps = field<double>(to, "eps");
  result.value = field<double>(to, "value");
  result.value_linear = field<double>(to, "value_linear");
  result.row_sum = field<double>(to, "row_sum");
  result.col_sum = field<double>(to, "col_sum");
  result.marginal_error = field<double>(to, "marginal_error");
  result.bound = field<double>(to, "bound");
  result.n_iter = field<std::int64_t>(to, "n_iter");
  result.status = field<std::int32_t>(to, "status");
  return result;
}

// Problems of the core, for the bindings of every device.

// Without a strength it is the solver's default.
template <class T>
ScalingProblem<T> scaling_problem(const Problem& problem, const Tensor& strength,
                                  const py::object& f_init, const py::object& g_init, double tol,
                                  Index max_iter) {
  ScalingProblem<T> made;
  made.cost = problem.cost<T>();
  made.a = problem.a<T>();
  made.b = problem.b<T>();
  made.strength = strength.data<const double>();
  made.f_init = vector_batch<double>(f_init);
  made.g_init = vector_batch<double>(g_init);
  made.tol = tol;
  made.max_iter = max_iter;
  return made;
}

template <class T>
ExactProblem<T> exact_problem(const Problem& problem, const py::object& f_init,
                              const py::object& g_init, Index max_iter) {
  ExactProblem<T> made;
  made.cost = problem.cost<T>();
  made.a = problem.a<T>();
  made.b = problem.b<T>();
  made.f_init = vector_batch<double>(f_init);
  made.g_init = vector_batch<double>(g_init);
  made.max_iter = max_iter;
  return made;
}

// The factors x and y are the problem's a and b.
template <class T>
GibbsProblem<T> gibbs_problem(const Problem& problem, const Tensor& f, const Tensor& g,
                              const Tensor& eps) {
  GibbsProblem<T> made;
  made.cost = problem.cost<T>();
  made.f = vector_batch<double>(f);
  made.g = vector_batch<double>(g);
  made.x = problem.a<T>();
  made.y = problem.b<T>();
  made.eps = eps.data<const double>();
  return made;
}

template <class T>
ImplicitProblem<T> implicit_problem(const Problem& problem, const Tensor& f, const Tensor& g,
                                    const Tensor& eps, const Tensor& x, const Tensor& y,
                                    bool transposed) {
  ImplicitProblem<T> made;
  made.cost = problem.cost<T>();
  made.f = vector_batch<double>(f);
  made.g = vector_batch<double>(g);
  made.a = problem.a<T>();
  made.b = problem.b<T>();
  made.eps = eps.data<const double>();
  made.x = vector_batch<double>(x);
  made.y = vector_batch<double>(y);
  made.transposed = transposed;
  return made;
}

template <class T>
LineProblem<T> line_problem(const Problem& problem, const Tensor& x, const Tensor& y,
                            bool squared) {
  LineProblem<T> made;
  made.batch = problem.number("batch");
  made.rows = problem.number("n");
  made.cols = problem.number("m");
  made.x = vector_batch<T>(x);
  made.y = vector_batch<T>(y);
  made.a = problem.a<T>();
  made.b = problem.b<T>();
  made.squared = squared;
  return made;
}

template <class T>
PointGradientProblem<T> point_gradient_problem(const Problem& problem, const Tensor& f,
                                               const Tensor& g, const Tensor& eps) {
  PointGradientProblem<T> made;
  made.cost = problem.cost<T>();
  made.f = vector_batch<double>(f);
  made.g = vector_batch<double>(g);
  made.a = problem.a<T>();
  made.b = problem.b<T>();
  made.eps = eps.data<const double>();
  return made;
}

template <class T>
BoundProblem<T> bound_problem(const Problem& problem, const Tensor& f, const Tensor& g) {
  BoundProblem<T> made;
  made.cost = problem.cost<T>();
  made.f = vector_batch<double>(f);
  made.g = vector_batch<double>(g);
  made.a = problem.a<T>();
  made.b = problem.b<T>();
  return made;
}

}  // namespace kantorch::bindings
