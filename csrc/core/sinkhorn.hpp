// Entropic optimal transport: min <P, C> + eps sum P log(P / (a b^T)) over P 1 = a, P^T 1 = b.
//
// P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps), and one iteration is
//   f_i = -eps log sum_j b_j exp((g_j - C_ij) / eps),   then   g_j = -eps log sum_i a_i exp((f_i -
//   C_ij) / eps),
// which is defined at points without mass as well.
#pragma once

#include "core/scaling.hpp"

namespace kantorch {

// Inputs are finite, weights are not negative, and each problem's masses agree to 1e-5 relative: b
// is rescaled to the mass of a.
template <class T>
struct SinkhornProblem {
  CostBatch<T> cost;
  VectorBatch<T> a;
  VectorBatch<T> b;
  const double* eps = nullptr;  // (B), positive
  VectorBatch<double> f_init;   // a warm start, in the unit of the cost; both or neither
  VectorBatch<double> g_init;
  double tol =
      0;  // L1 error of both marginals relative to the mass; 0: exactly max_iter plain iterations
  Index max_iter = 0;  // >= 1
};

template <class T>
Index sinkhorn_workspace(const SinkhornProblem<T>& problem, int threads) noexcept;

template <class T>
[[nodiscard]] Outcome sinkhorn(const SinkhornProblem<T>& problem, const ScalingResult& result,
                               void* workspace, const Cpu& exec) noexcept;

// The same on a GPU. Values are checked there: a problem with bad ones ends as bad_input, all its numbers NaN. Without
// Newton's method, so a problem may end with max_iterations that the CPU solves.
template <class T>
Index sinkhorn_workspace(const SinkhornProblem<T>& problem, const Cuda& exec);

template <class T>
void sinkhorn(const SinkhornProblem<T>& problem, const ScalingResult& result, void* workspace,
              const Cuda& exec);

}  // namespace kantorch
