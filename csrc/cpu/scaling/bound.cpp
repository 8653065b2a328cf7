#include "cpu/scaling/bound.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "core/bound.hpp"
#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

constexpr double top = std::numeric_limits<double>::max();

template <class W>
double inner(const W* weight, const double* x, Index size, double* mass) noexcept {
  double sum = 0;
  *mass = 0;
  for (Index i = 0; i < size; ++i) {
    const double w = static_cast<double>(weight[i]);
    *mass += w;
    sum += w * x[i];
  }
  return sum;
}

}  // namespace

template <class T, class W>
bool dual_value(CostRows<T>& cost, const W* a, const W* b, const double* f, double* scratch,
                const Cpu& exec, double* value) noexcept {
  const auto& rows = gibbs_rows<T>();
  const Index n = cost.rows(), m = cost.cols();
  const RowBlocks& blocks = cost.blocks();
  double* f_new = scratch;
  double* g_new = f_new + n;
  double* low = g_new + m;
  if (!parallel_for(blocks.count, exec, [&](Index block) {
        double* low_of_block = low + block * m;
        std::fill_n(low_of_block, m, top);
        blocks.each(block, exec, [&](Index i) {
          const T* c = cost.row(i, block);
          if (a[i] > 0) rows.lower(c, f[i], m, low_of_block);
        });
      })) {
    return false;
  }
  for (Index j = 0; j < m; ++j) {
    if (!(b[j] >
          0)) {  // constrains nothing: the transforms of points without mass can follow later
      g_new[j] = -top;
      continue;
    }
    g_new[j] = low[j];
    for (Index block = 1; block < blocks.count; ++block)
      g_new[j] = std::min(g_new[j], low[block * m + j]);
    g_new[j] = std::max(g_new[j], -top);
  }
  if (!parallel_for(blocks.count, exec, [&](Index block) {
        blocks.each(block, exec, [&](Index i) {
          f_new[i] = std::clamp(rows.smallest(cost.row(i, block), g_new, m), -top, top);
        });
      })) {
    return false;
  }
  double mass_a, mass_b;
  const double along_a = inner(a, f_new, n, &mass_a), along_b = inner(b, g_new, m, &mass_b);
  *value = mass_b > 0 ? along_a + along_b * (mass_a / mass_b) : 0;
  return true;
}

template <class T>
bool cost_range(CostRows<T>& cost, const double* a, const double* b, const Cpu& exec,
                CostRange* range) noexcept {
  const auto& rows = gibbs_rows<T>();
  const RowBlocks& blocks = cost.blocks();
  CostRange parts[RowBlocks::most];
  if (!parallel_for(blocks.count, exec, [&](Index block) {
        parts[block] = {top, -top};
        blocks.each(block, exec, [&](Index i) {
          const T* c = cost.row(i, block);
          if (a[i] > 0) rows.range(c, b, cost.cols(), &parts[block].low, &parts[block].high);
        });
      })) {
    return false;
  }
  *range = parts[0];
  for (Index block = 1; block < blocks.count; ++block) {
    range->low = std::min(range->low, parts[block].low);
    range->high = std::max(range->high, parts[block].high);
  }
  if (range->low > range->high) *range = {};
  return true;
}

template <class T>
bool mean_excess(CostRows<T>& cost, const double* a, const double* b, double low, const Cpu& exec,
                 double* mean) noexcept {
  const auto& rows = gibbs_rows<T>();
  const RowBlocks& blocks = cost.blocks();
  const Index n = std::count_if(a, a + cost.rows(), [](double x) { return x > 0; });
  const Index m = std::count_if(b, b + cost.cols(), [](double x) { return x > 0; });
  *mean = 0;
  if (n == 0 || m == 0) return true;
  const double share = 1 / (static_cast<double>(n) * static_cast<double>(m));
  double parts[RowBlocks::most] = {};
  if (!parallel_for(blocks.count, exec, [&](Index block) {
        blocks.each(block, exec, [&](Index i) {
          const T* c = cost.row(i, block);
          if (a[i] > 0) parts[block] += rows.excess(c, b, low, share, cost.cols());
        });
      })) {
    return false;
  }
  for (Index block = 0; block < blocks.count; ++block) *mean += parts[block];
  return true;
}

template bool dual_value(CostRows<float>&, const float*, const float*, const double*, double*,
                         const Cpu&, double*) noexcept;
template bool dual_value(CostRows<float>&, const double*, const double*, const double*, double*,
                         const Cpu&, double*) noexcept;
template bool dual_value(CostRows<double>&, const double*, const double*, const double*, double*,
                         const Cpu&, double*) noexcept;
template bool cost_range(CostRows<float>&, const double*, const double*, const Cpu&,
                         CostRange*) noexcept;
template bool cost_range(CostRows<double>&, const double*, const double*, const Cpu&,
                         CostRange*) noexcept;
template bool mean_excess(CostRows<float>&, const double*, const double*, double, const Cpu&,
                          double*) noexcept;
template bool mean_excess(CostRows<double>&, const double*, const double*, double, const Cpu&,
                          double*) noexcept;

}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Outcome dual_bound(const BoundProblem<T>& problem, double* bound, const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols, batch = problem.cost.batch;
  const bool stored = !problem.points.given();
  const Index slots = cpu::slots(batch, n, m, exec.threads);
  const auto scratch_of = [&](cpu::Arena& arena) {
    return std::pair(arena.take<double>(cpu::dual_value_scratch(n, m)),
                     cpu::CostRows<T>(arena, n, m, stored));
  };
  cpu::Arena counted(nullptr);
  scratch_of(counted);
  const Index bytes = counted.bytes();
  const std::unique_ptr<char[]> memory(
      new (std::nothrow) char[static_cast<std::size_t>(slots * bytes)]);
  if (!memory) return Outcome::out_of_memory;
  const bool finished =
      cpu::for_each_problem(batch, slots, exec, [&](Index k, Index slot, const Cpu& inner) {
        cpu::Arena arena(memory.get() + slot * bytes);
        auto [scratch, rows] = scratch_of(arena);
        stored ? rows.bind(problem.cost[k]) : rows.bind(problem.points[k]);
        return cpu::dual_value(rows, problem.a[k], problem.b[k], problem.f[k], scratch,
                               cpu::for_passes(inner, n, m), bound + k);
      });
  return finished ? Outcome::done : Outcome::interrupted;
}

template Outcome dual_bound(const BoundProblem<float>&, double*, const Cpu&) noexcept;
template Outcome dual_bound(const BoundProblem<double>&, double*, const Cpu&) noexcept;

}  // namespace kantorch
