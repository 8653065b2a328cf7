// A lower bound on the unregularised optimum.
#pragma once

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

// The value of a feasible dual point of the unregularised problem, made from g and then f by
// c-transforms in float64: a lower bound on its optimum. `bound` is (B).
template <class T>
struct BoundProblem {
  CostBatch<T> cost;
  VectorBatch<double> f;
  VectorBatch<double> g;
  VectorBatch<T> a;
  VectorBatch<T> b;
};

template <class T>
Index dual_bound_workspace(const BoundProblem<T>& problem, int threads) noexcept;

template <class T>
[[nodiscard]] Outcome dual_bound(const BoundProblem<T>& problem, double* bound, void* workspace,
                                 const Cpu& exec) noexcept;

// On a GPU; NaN where a potential is not finite.
template <class T>
Index dual_bound_workspace(const BoundProblem<T>& problem, const Cuda& exec);

template <class T>
void dual_bound(const BoundProblem<T>& problem, double* bound, void* workspace, const Cuda& exec);

}  // namespace kantorch
