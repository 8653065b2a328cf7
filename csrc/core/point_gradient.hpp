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
[[nodiscard]] Outcome point_gradient(const PointGradientProblem<T>& problem, T* out,
                                     const Cpu& exec) noexcept;

}  // namespace kantorch
