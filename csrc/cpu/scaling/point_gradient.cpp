#include <algorithm>
#include <memory>
#include <new>

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
  const Index m = problem.cols, dims = problem.points.dims;
  Arena arena(memory);
  Workspace<T> work(arena, problem.rows, m);
  const PointsView<T> points = problem.points[k];
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

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Outcome point_gradient(const PointGradientProblem<T>& problem, T* out, const Cpu& exec) noexcept {
  const Index n = problem.rows, m = problem.cols;
  const Index slots = cpu::slots(problem.batch, n, m, exec.threads);
  cpu::Arena counted(nullptr);
  const cpu::Workspace<T> sizes(counted, n, m);
  const Index bytes = counted.bytes();
  const std::unique_ptr<char[]> memory(
      new (std::nothrow) char[static_cast<std::size_t>(slots * bytes)]);
  if (!memory) return Outcome::out_of_memory;
  const bool finished =
      cpu::for_each_problem(problem.batch, slots, exec, [&](Index k, Index slot, const Cpu& inner) {
        return cpu::solve(problem, k, out + k * n * problem.points.dims,
                          memory.get() + slot * bytes, cpu::for_passes(inner, n, m));
      });
  return finished ? Outcome::done : Outcome::interrupted;
}

template Outcome point_gradient(const PointGradientProblem<float>&, float*, const Cpu&) noexcept;
template Outcome point_gradient(const PointGradientProblem<double>&, double*, const Cpu&) noexcept;

}  // namespace kantorch
