// The costs between points as every solve computes them.
#pragma once

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

template <class T>
Index distance_matrix_workspace(const CostBatch<T>& cost, int threads) noexcept;

// `cost` is between points; `out` is (B, n, m).
template <class T>
[[nodiscard]] Outcome distance_matrix(const CostBatch<T>& cost, T* out, void* workspace,
                                      const Cpu& exec) noexcept;

template <class T>
void distance_matrix(const CostBatch<T>& cost, T* out, const Cuda& exec);

}  // namespace kantorch
