// Plans of the family that Sinkhorn and IPOT iterate over, and their gradients.
#pragma once

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

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

template <class T>
Index gibbs_workspace(const GibbsProblem<T>& problem, int threads) noexcept;

// `plan` is (B, n, m), contiguous.
template <class T>
[[nodiscard]] Outcome gibbs(const GibbsProblem<T>& problem, T* plan, void* workspace,
                            const Cpu& exec) noexcept;

template <class T>
void gibbs(const GibbsProblem<T>& problem, T* plan, const Cuda& exec);

}  // namespace kantorch
