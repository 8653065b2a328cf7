// The linear systems of the implicit function theorem at Sinkhorn's fixed point.
#pragma once

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

// Solves M^T [lambda; mu] = [x; y] (transposed) or M [lambda; mu] = [x; y], where
//   M = [[I, E diag(b)], [E^T diag(a), I]],   E_ij = exp((f_i + g_j - C_ij) / eps)
// is the derivative of Sinkhorn's fixed-point equations sum_j b_j E_ij = 1, sum_i a_i E_ij = 1 with
// respect to (f, g) / eps. M is singular along (1, -1): the right-hand side is first projected on
// the range, by a step along (1, -1) over the points with mass (transposed) or along (a, -b).
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
                               void* workspace, const Cpu& exec) noexcept;

template <class T>
Index implicit_workspace(const ImplicitProblem<T>& problem, const Cuda& exec);

template <class T>
void implicit(const ImplicitProblem<T>& problem, double* lambda, double* mu, void* workspace,
              const Cuda& exec);

}  // namespace kantorch
