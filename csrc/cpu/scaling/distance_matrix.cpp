#include "core/distance_matrix.hpp"

#include "cpu/scaling/cost_rows.hpp"

namespace kantorch::cpu {
namespace {

template <class T>
Index bytes_per_problem(const CostBatch<T>& cost) noexcept {
  Arena arena(nullptr);
  const CostRows<T> rows(arena, cost.rows, cost.cols, false);
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index distance_matrix_workspace(const CostBatch<T>& cost, int threads) noexcept {
  return cpu::workspace_of(cost, cpu::bytes_per_problem(cost), threads);
}

template <class T>
Outcome distance_matrix(const CostBatch<T>& cost, T* out, void* workspace,
                        const Cpu& exec) noexcept {
  const Index n = cost.rows, m = cost.cols;
  return cpu::solve_batch(cost, cpu::bytes_per_problem(cost), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            cpu::Arena arena(memory);
                            cpu::CostRows<T> rows(arena, n, m, false);
                            rows.bind(cost.points[k]);
                            return cpu::copy_rows(rows, out + k * n * m, inner);
                          });
}

template Index distance_matrix_workspace(const CostBatch<float>&, int) noexcept;
template Index distance_matrix_workspace(const CostBatch<double>&, int) noexcept;
template Outcome distance_matrix(const CostBatch<float>&, float*, void*, const Cpu&) noexcept;
template Outcome distance_matrix(const CostBatch<double>&, double*, void*, const Cpu&) noexcept;

}  // namespace kantorch
