// Unregularised optimal transport: min <P, C> over P >= 0, P 1 = a, P^T 1 = b.
#pragma once

#include <cstdint>

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

// Inputs are finite, weights are not negative, and each problem's masses agree to 1e-5 relative: b
// is rescaled to the mass of a. Float32 problems are solved in float64.
template <class T>
struct ExactProblem {
  CostBatch<T> cost;
  VectorBatch<T> a;
  VectorBatch<T> b;
  VectorBatch<double> f_init;  // a warm start, in the unit of the cost; both or neither
  VectorBatch<double> g_init;
  Index max_iter = -1;  // pivots or augmentations; negative means unlimited
};

// Every array is contiguous, problem after problem. Of the plan, which has at most rows + cols - 1
// nonzeros, slot s of a problem says plan[plan_row[s]][plan_col[s]] = plan_mass[s]; no cell is in
// two slots with mass, and an unused slot has mass 0 at cell (0, 0).
struct ExactResult {
  double* value;           // (B)             <P, C>
  double* f;               // (B, n)          optimal duals, complete at points without mass:
  double* g;               // (B, m)          f_i + g_j <= C_ij up to rounding
  std::int64_t* plan_row;  // (B, n + m - 1)
  std::int64_t* plan_col;  // (B, n + m - 1)
  double* plan_mass;       // (B, n + m - 1)
  double* marginal_error;  // (B)             L1 error of both marginals relative to the mass
  std::int64_t* n_iter;    // (B)
  std::int32_t* status;    // (B)             optimal, max_iterations or precision_limit: the last
                           //                 also if the value is not finite as a T
};

// Scratch bytes that `exact` needs, for the whole call.
template <class T>
Index exact_workspace(const ExactProblem<T>& problem, int threads) noexcept;

template <class T>
[[nodiscard]] Outcome exact(const ExactProblem<T>& problem, const ExactResult& result,
                            void* workspace, const Cpu& exec) noexcept;

// On a GPU a bad problem ends as bad_input, and so many pivots that a launch would be long as max_iterations. May throw
// CudaError.
template <class T>
Index exact_workspace(const ExactProblem<T>& problem, const Cuda& exec);

template <class T>
void exact(const ExactProblem<T>& problem, const ExactResult& result, void* workspace,
           const Cuda& exec);

}  // namespace kantorch
