#include <algorithm>

#include "core/gibbs.hpp"
#include "cpu/runtime/arena.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/scaling/gibbs_passes.hpp"
#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

double in_units(double x, double rate) noexcept { return std::clamp(x * rate, -1e300, 1e300); }

template <class T>
bool fill(const GibbsProblem<T>& problem, Index k, T* plan, void* memory,
          const Cpu& exec) noexcept {
  const MatrixView<T> cost = problem.cost[k];
  double* g = Arena(memory).take<double>(cost.cols);
  const double rate = rate_of(problem.eps[k]);
  for (Index j = 0; j < cost.cols; ++j) g[j] = in_units(problem.g[k][j], rate);
  const auto& rows = gibbs_rows<T>();
  const RowBlocks blocks(cost.rows, cost.cols);
  return parallel_for(blocks.count, exec, [&](Index block) {
    blocks.each(block, exec, [&](Index i) {
      rows.plan(cost.row(i), g, problem.y[k], in_units(problem.f[k][i], rate),
                static_cast<double>(problem.x[k][i]), rate, cost.cols, plan + i * cost.cols);
    });
  });
}

Index bytes_per_problem(Index m) noexcept {
  Arena arena(nullptr);
  arena.take<double>(m);
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index gibbs_workspace(const GibbsProblem<T>& problem, int threads) noexcept {
  return cpu::workspace_of(problem.cost, cpu::bytes_per_problem(problem.cost.cols), threads);
}

template <class T>
Outcome gibbs(const GibbsProblem<T>& problem, T* plan, void* workspace, const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  return cpu::solve_batch(problem.cost, cpu::bytes_per_problem(m), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            return cpu::fill(problem, k, plan + k * n * m, memory, inner);
                          });
}

template Index gibbs_workspace(const GibbsProblem<float>&, int) noexcept;
template Index gibbs_workspace(const GibbsProblem<double>&, int) noexcept;
template Outcome gibbs(const GibbsProblem<float>&, float*, void*, const Cpu&) noexcept;
template Outcome gibbs(const GibbsProblem<double>&, double*, void*, const Cpu&) noexcept;

}  // namespace kantorch
