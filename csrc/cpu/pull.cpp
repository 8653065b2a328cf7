#include <algorithm>
#include <memory>
#include <new>

#include "core/scaling.hpp"
#include "cpu/batch.hpp"
#include "cpu/cost_rows.hpp"
#include "cpu/gibbs_passes.hpp"
#include "cpu/simd/gibbs_rows.hpp"
#include "cpu/sinkhorn_result.hpp"

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
bool solve(const PullProblem<T>& problem, Index k, T* out, void* memory,
           const Control& control) noexcept {
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
  return parallel_for(blocks.count, control, [&](Index block) {
    const T* cost = work.cost.of_block(block);
    T* plan = work.plan + block * distance_group * stride;
    for (Index i = blocks.first(block); i < blocks.last(block) && !control.stopped();) {
      const Index count = work.cost.group(i, block);
      for (Index r = 0; r < count; ++r) {
        gibbs_rows<T>().plan(cost + r * stride, work.g, problem.b[k],
                             to_units(problem.f[k][i + r], rate),
                             static_cast<double>(problem.a[k][i + r]), rate, m, plan + r * stride);
      }
      distance_rows<T>().pull(points, points.x + i * dims, count, m, plan, cost, out + i * dims);
      i += count;
    }
  });
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Outcome pull(const PullProblem<T>& problem, T* out, const Control& control) noexcept {
  const Index n = problem.rows, m = problem.cols;
  const Index slots = cpu::slots(problem.batch, n, m, control.threads);
  cpu::Arena counted(nullptr);
  const cpu::Workspace<T> sizes(counted, n, m);
  const Index bytes = counted.bytes();
  const std::unique_ptr<char[]> memory(
      new (std::nothrow) char[static_cast<std::size_t>(slots * bytes)]);
  if (!memory) return Outcome::out_of_memory;
  const bool finished = cpu::for_each_problem(
      problem.batch, slots, control, [&](Index k, Index slot, const Control& inner) {
        return cpu::solve(problem, k, out + k * n * problem.points.dims,
                          memory.get() + slot * bytes, cpu::for_passes(inner, n, m));
      });
  return finished ? Outcome::done : Outcome::interrupted;
}

template Outcome pull(const PullProblem<float>&, float*, const Control&) noexcept;
template Outcome pull(const PullProblem<double>&, double*, const Control&) noexcept;

}  // namespace kantorch
