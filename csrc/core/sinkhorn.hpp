// Entropic optimal transport: min <P, C> + eps sum P log(P / (a b^T)) over P 1 = a, P^T 1 = b.
//
// P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps), and one iteration is
//   f_i = -eps log sum_j b_j exp((g_j - C_ij) / eps),   then   g_j = -eps log sum_i a_i exp((f_i -
//   C_ij) / eps),
// which is defined at points without mass as well.
#pragma once

#include "core/scaling.hpp"

namespace kantorch {

// The strength is eps, and tol is on the L1 error of both marginals relative to the mass.
template <class T>
Index sinkhorn_workspace(const ScalingProblem<T>& problem, int threads) noexcept;

template <class T>
[[nodiscard]] Outcome sinkhorn(const ScalingProblem<T>& problem, const ScalingResult& result,
                               void* workspace, const Cpu& exec) noexcept;

// The same on a GPU. Values are checked there: a problem with bad ones ends as bad_input, all its numbers NaN. Without
// Newton's method, so a problem may end with max_iterations that the CPU solves.
template <class T>
Index sinkhorn_workspace(const ScalingProblem<T>& problem, const Cuda& exec);

template <class T>
void sinkhorn(const ScalingProblem<T>& problem, const ScalingResult& result, void* workspace,
              const Cuda& exec);

}  // namespace kantorch
