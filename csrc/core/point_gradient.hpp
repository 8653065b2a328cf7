// Gradients that reach the points through a plan that is not stored.
#pragma once

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

// The derivative of sum_ij P_ij c(x_i, y_j) along the points x for the fixed plan P_ij = a_i b_j
// exp((f_i + g_j - c(x_i, y_j)) / eps). `a` may be scaled and have any sign.
template <class T>
struct PointGradientProblem {
  CostBatch<T> cost;  // between points
  VectorBatch<double> f;
  VectorBatch<double> g;
  VectorBatch<T> a;
  VectorBatch<T> b;
  const double* eps = nullptr;  // (B)
};

template <class T>
Index point_gradient_workspace(const PointGradientProblem<T>& problem, int threads) noexcept;

// `out` is (B, n, dims).
template <class T>
[[nodiscard]] Outcome point_gradient(const PointGradientProblem<T>& problem, T* out,
                                     void* workspace, const Cpu& exec) noexcept;

template <class T>
void point_gradient(const PointGradientProblem<T>& problem, T* out, const Cuda& exec);

}  // namespace kantorch
