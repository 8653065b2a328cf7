// The family of plans that Sinkhorn and IPOT iterate over, P_ij = a_i b_j exp((f_i + g_j - C_ij) /
// eps), and what both solvers return.
#pragma once

#include <cstdint>

#include "core/control.hpp"
#include "core/view.hpp"

namespace kantorch {

// Every array is contiguous, problem after problem, and in the unit of the cost and of the given
// mass.
struct ScalingResult {
  double* f;               // (B, n)  finite everywhere; sum f = sum g over the points with mass
  double* g;               // (B, m)
  double* eps;             // (B)     of the returned plan: reg for Sinkhorn, beta / t for IPOT
  double* value;           // (B)     Sinkhorn: <a,f> + <b,g> - eps (sum P - mass); IPOT: <P, C>
  double* value_linear;    // (B)     <P, C>
  double* row_sum;         // (B, n)  of the plan that `gibbs` makes from f, g
  double* col_sum;         // (B, m)
  double* marginal_error;  // (B)     L1 error of both marginals relative to the mass
  std::int64_t* n_iter;    // (B)
  std::int32_t* status;    // (B)
};

// plan_ij = x_i y_j exp((f_i + g_j - C_ij) / eps): the plan itself for x = a, y = b, and by
// linearity in x and y its gradients. The exponent is computed in double; x_i = 0 or y_j = 0 gives
// exactly 0.
template <class T>
struct GibbsProblem {
  CostBatch<T> cost;
  VectorBatch<double> f;
  VectorBatch<double> g;
  VectorBatch<T> x;
  VectorBatch<T> y;
  const double* eps = nullptr;  // (B)
};

// `plan` is (B, n, m), contiguous.
template <class T>
[[nodiscard]] Outcome gibbs(const GibbsProblem<T>& problem, T* plan,
                            const Control& control) noexcept;

// Solves M^T [lambda; mu] = [x; y] (transposed) or M [lambda; mu] = [x; y], where
//   M = [[I, E diag(b)], [E^T diag(a), I]],   E_ij = exp((f_i + g_j - C_ij) / eps)
// is the derivative of Sinkhorn's fixed-point equations sum_j b_j E_ij = 1, sum_i a_i E_ij = 1 with
// respect to (f, g) / eps. M is singular along (1, -1): the right-hand side is first projected on
// the range.
template <class T>
struct ImplicitProblem {
  CostBatch<T> cost;
  VectorBatch<double> f;
  VectorBatch<double> g;
  VectorBatch<T> a;
  VectorBatch<T> b;
  const double* eps = nullptr;  // (B)
  VectorBatch<double> x;
  VectorBatch<double> y;
  bool transposed = true;
};

template <class T>
Index implicit_workspace(const ImplicitProblem<T>& problem, int threads) noexcept;

// lambda (B, n), mu (B, m).
template <class T>
[[nodiscard]] Outcome implicit(const ImplicitProblem<T>& problem, double* lambda, double* mu,
                               void* workspace, const Control& control) noexcept;

// The value of a feasible dual point of the unregularised problem, made from g and then f by
// c-transforms in float64: a lower bound on its optimum. `bound` is (B).
template <class T>
struct BoundProblem {
  CostBatch<T> cost;  // its sizes alone if there are points
  VectorBatch<double> f;
  VectorBatch<double> g;
  VectorBatch<T> a;
  VectorBatch<T> b;
  PointsBatch<T> points;
};

template <class T>
[[nodiscard]] Outcome dual_bound(const BoundProblem<T>& problem, double* bound,
                                 const Control& control) noexcept;

// The derivative of sum_ij P_ij c(x_i, y_j) along the points x for the fixed plan P_ij = a_i b_j
// exp((f_i + g_j - c(x_i, y_j)) / eps). `a` may be scaled and have any sign.
template <class T>
struct PullProblem {
  PointsBatch<T> points;
  Index batch = 0;
  Index rows = 0;
  Index cols = 0;
  VectorBatch<double> f;
  VectorBatch<double> g;
  VectorBatch<T> a;
  VectorBatch<T> b;
  const double* eps = nullptr;  // (B)
};

// `out` is (B, n, dims).
template <class T>
[[nodiscard]] Outcome pull(const PullProblem<T>& problem, T* out, const Control& control) noexcept;

}  // namespace kantorch
