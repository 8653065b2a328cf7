// Inexact proximal point method for optimal transport (Xie, Wang, Wang, Zha, UAI 2019), one inner
// step per outer step, column scaling carried over, started from the all-ones plan and b = 1/m.
//
// In the log domain, with U_t, V_t the products of all row and column scalings so far, the plan
// after step t is diag(U_t) exp(-t C / beta) diag(V_t), and with V_0 = 1 and Vt = V_{t-1}^2 /
// V_{t-2} (first step: any constant)
//   log U_t = log a - LSE_j(-t C_ij / beta + log Vt_j),   log V_t = log b - LSE_i(-t C_ij / beta +
//   log U_t,i).
// So the plan is of Sinkhorn's family at eps = beta / t.
//
// A proximal step of strength beta / k, solved to the end, leads from the exact solution of step t
// to that of step t + k. With a tolerance, problems that plain steps take long for end with a few
// steps that grow so: then t is not the number of iterations, but the plan is still at eps = beta / t.
#pragma once

#include "core/scaling.hpp"

namespace kantorch {

// The strength is beta; without one, and where it is not positive, beta = 0.1 * mean(cost - min cost)
// over the points with mass. tol is on the marginal error, and on the gap relative to the spread of
// the cost. Costs beyond a void in it, such as blocked cells, count for the spread, and with a tolerance
// for beta, only where a plan has to pay them; so do those of a long tail for the spread, as far as the digits allow.
template <class T>
Index ipot_workspace(const ScalingProblem<T>& problem, int threads) noexcept;

// f, g of the result make the plan together with a and b: log U_t = (f + eps log a) / eps.
template <class T>
[[nodiscard]] Outcome ipot(const ScalingProblem<T>& problem, const ScalingResult& result,
                           void* workspace, const Cpu& exec) noexcept;

// The same on a GPU. Values are checked there: a problem with bad ones ends as bad_input, all its numbers NaN; a beta that
// is given has to be positive. Potentials at points without mass are c-transforms, see csrc/cuda/ipot/massless.hpp. Slow
// problems are left to Newton's method at the end, if the smaller side has at most 512 points and the costs have no void: others
// may end with max_iterations that the CPU solves.
template <class T>
Index ipot_workspace(const ScalingProblem<T>& problem, const Cuda& exec);

template <class T>
void ipot(const ScalingProblem<T>& problem, const ScalingResult& result, void* workspace,
          const Cuda& exec);

}  // namespace kantorch
