#include <algorithm>

#include "core/point_gradient.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/scaling/cost_rows.hpp"
#include "cpu/scaling/gibbs_passes.hpp"
#include "cpu/scaling/result.hpp"
#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

// The scratch of one problem at a time: rows of the plan beside those of the cost.
template <class T>
struct Workspace {
  Workspace(Arena& arena, Index n, Index m) noexcept
      : g(arena.take<double>(m)),
        plan(arena.take<T>(RowBlocks(n, m).count * distance_group * padded(m, panel))),
        cost(arena, n, m, false) {}

  double* g;
  T* plan;
  CostRows<T> cost;
};

template <class T>
bool solve(const PointGradientProblem<T>& problem, Index k, T* out, void* memory,
           const Cpu& exec) noexcept {
  const Index m = problem.cost.cols, dims = problem.cost.points.dims;
  Arena arena(memory);
  Workspace<T> work(arena, problem.cost.rows, m);
  const PointsView<T> points = problem.cost.points[k];
  work.cost.bind(points);
  const double rate = rate_of(problem.eps[k]);
  for (Index j = 0; j < m; ++j) work.g[j] = to_units(problem.g[k][j], rate);
  const RowBlocks& blocks = work.cost.blocks();
  const Index stride = work.cost.stride();
  std::fill_n(work.plan, blocks.count * distance_group * stride, T{0});
  return parallel_for(blocks.count, exec, [&](Index block) {
    const T* cost = work.cost.of_block(block);
    T* plan = work.plan + block * distance_group * stride;
    for (Index i = blocks.first(block); i < blocks.last(block) && !exec.stopped();) {
      const Index count = work.cost.group(i, block);
      for (Index r = 0; r < count; ++r) {
        gibbs_rows<T>().plan(cost + r * stride, work.g, problem.b[k],
                             to_units(problem.f[k][i + r], rate),
                             static_cast<double>(problem.a[k][i + r]), rate, m, plan + r * stride);
      }
      distance_rows<T>().point_gradient(points, points.x + i * dims, count, m, plan, cost,
                                        out + i * dims);
      i += count;
    }
  });
}

template <class T>
Index bytes_per_problem(Index n, Index m) noexcept {
  Arena arena(nullptr);
  const Workspace<T> work(arena, n, m);
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index point_gradient_workspace(const PointGradientProblem<T>& problem, int threads) noexcept {
  const auto& cost = problem.cost;
  return cpu::workspace_of(cost, cpu::bytes_per_problem<T>(cost.rows, cost.cols), threads);
}

template <class T>
Outcome point_gradient(const PointGradientProblem<T>& problem, T* out, void* workspace,
                       const Cpu& exec) noexcept {
  const auto& cost = problem.cost;
  const Index each = cost.rows * cost.points.dims;
  return cpu::solve_batch(cost, cpu::bytes_per_problem<T>(cost.rows, cost.cols), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            return cpu::solve(problem, k, out + k * each, memory, inner);
                          });
}

template Index point_gradient_workspace(const PointGradientProblem<float>&, int) noexcept;
template Index point_gradient_workspace(const PointGradientProblem<double>&, int) noexcept;
template Outcome point_gradient(const PointGradientProblem<float>&, float*, void*,
                                const Cpu&) noexcept;
template Outcome point_gradient(const PointGradientProblem<double>&, double*, void*,
                                const Cpu&) noexcept;

}  // namespace kantorch
