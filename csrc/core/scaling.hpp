// The family of plans that Sinkhorn and IPOT iterate over, P_ij = a_i b_j exp((f_i + g_j - C_ij) /
// eps), what both solvers are given, and what they return.
#pragma once

#include <cstdint>

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

// Inputs are finite, weights are not negative, and each problem's masses agree to 1e-5 relative: b
// is rescaled to the mass of a.
template <class T>
struct ScalingProblem {
  CostBatch<T> cost;
  VectorBatch<T> a;
  VectorBatch<T> b;
  const double* strength = nullptr;  // (B), positive: eps of Sinkhorn, beta of IPOT
  VectorBatch<double> f_init;        // a warm start, in the unit of the cost; both or neither
  VectorBatch<double> g_init;
  double tol = 0;      // what has to be met, see the solver; 0: exactly max_iter plain iterations
  Index max_iter = 0;  // >= 1
};

// Every array is contiguous, problem after problem, and in the unit of the cost and of the given
// mass.
struct ScalingResult {
  double* f;               // (B, n)  finite everywhere; sum f = sum g over the points with mass
  double* g;               // (B, m)
  double* eps;             // (B)     of the returned plan: reg for Sinkhorn, beta / t for IPOT;
                           //         larger where potentials in double determine no such plan
  double* value;           // (B)     Sinkhorn: <a,f> + <b,g> - eps (sum P - mass); IPOT: <P, C>
  double* value_linear;    // (B)     <P, C>
  double* row_sum;         // (B, n)  of the plan that `gibbs` makes from f, g
  double* col_sum;         // (B, m)
  double* marginal_error;  // (B)     L1 error of both marginals relative to the mass
  double* bound;           // (B)     a lower bound on the optimal <P, C> that was met, or -inf
  std::int64_t* n_iter;    // (B)
  std::int32_t* status;    // (B)
};

}  // namespace kantorch
