#include <algorithm>
#include <memory>
#include <new>

#include "core/gibbs.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/scaling/gibbs_passes.hpp"
#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

double in_units(double x, double rate) noexcept { return std::clamp(x * rate, -1e300, 1e300); }

template <class T>
bool fill(const GibbsProblem<T>& problem, Index k, double* g, T* plan, const Cpu& exec) noexcept {
  const MatrixView<T> cost = problem.cost[k];
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

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Outcome gibbs(const GibbsProblem<T>& problem, T* plan, const Cpu& exec) noexcept {
  const auto& cost = problem.cost;
  const Index slots = cpu::slots(cost.batch, cost.rows, cost.cols, exec.threads);
  const std::unique_ptr<double[]> g(
      new (std::nothrow) double[static_cast<std::size_t>(slots * cost.cols)]);
  if (!g) return Outcome::out_of_memory;
  const bool finished =
      cpu::for_each_problem(cost.batch, slots, exec, [&](Index k, Index slot, const Cpu& inner) {
        return cpu::fill(problem, k, g.get() + slot * cost.cols, plan + k * cost.rows * cost.cols,
                         cpu::for_passes(inner, cost.rows, cost.cols));
      });
  return finished ? Outcome::done : Outcome::interrupted;
}

template Outcome gibbs(const GibbsProblem<float>&, float*, const Cpu&) noexcept;
template Outcome gibbs(const GibbsProblem<double>&, double*, const Cpu&) noexcept;

}  // namespace kantorch
