#include "cpu/scaling/bound.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/compensated_sum.hpp"
#include "core/bound.hpp"
#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

constexpr double top = std::numeric_limits<double>::max();

// Half a unit in the last place, with room for what rounds in the sums of such errors.
constexpr double rounding = 0x1.01p-53;

// The mass of one side and its part of the dual, in about twice the working precision.
struct Part {
  CompensatedSum mass;
  CompensatedSum dual;
  double size = 0;  // the sum of the terms' absolute values
  double lost = 0;  // at most, of products that underflow

  template <class W>
  Part(const W* weight, const double* x, Index count) noexcept {
    for (Index i = 0; i < count; ++i) {
      const auto w = static_cast<double>(weight[i]);
      if (!(w > 0)) continue;
      const double term = w * x[i];
      mass.add(w);
      dual.add(term);
      dual.add(std::fma(w, x[i], -term));
      size += std::abs(term);
      if (x[i] != 0 && std::abs(term) < 0x1p-960) lost += std::numeric_limits<double>::denorm_min();
    }
  }
};

// <a, f> + <b, g> mass(a) / mass(b), rounded down by all that may be wrong with it, where g is what
// it is and f was rounded once. Not finite if it overflows.
template <class W>
double rounded_down(const W* a, const double* f, Index n, const W* b, const double* g,
                    Index m) noexcept {
  const Part rows(a, f, n), cols(b, g, m);
  const double mass_b = cols.mass.total();
  if (!(mass_b > 0)) return 0;
  // The ratio of the masses is nearly 1, and its distance from that known to many digits.
  CompensatedSum excess = rows.mass;
  excess.subtract(cols.mass);
  const double more = cols.dual.total() * (excess.total() / mass_b);
  CompensatedSum sum = rows.dual;
  sum.add(cols.dual);
  sum.add(more);
  const double value = sum.total();
  // A compensated sum of k terms of total size s loses (k epsilon)^2 s at most, besides its last
  // rounding (Ogita, Rump, Oishi, 2005).
  const double terms = static_cast<double>(2 * (n + m)) * rounding;
  const double error = rows.size * rounding + (rows.size + 2 * cols.size) * terms * terms +
                       4 * std::abs(more) * rounding + 3 * std::abs(value) * rounding + rows.lost +
                       2 * cols.lost;
  return value - error;
}

}  // namespace

// The distances are smaller by the rounding of dims sums of products at most, and not negative.
template <class T>
double below_rounded_distances(double bound, const T* a, Index n, Index dims) noexcept {
  const auto terms = static_cast<double>(dims + 6);
  const double mass = std::accumulate(a, a + n, 0.0);
  bound -= terms * mass * static_cast<double>(std::numeric_limits<T>::denorm_min());
  return bound > 0
             ? bound * (1 - terms * static_cast<double>(std::numeric_limits<T>::epsilon() / 2))
             : bound;
}

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
  const auto transform = [&] {
    return parallel_for(blocks.count, exec, [&](Index block) {
      blocks.each(block, exec, [&](Index i) {
        f_new[i] = std::min(rows.smallest(cost.row(i, block), g_new, m), top);
      });
    });
  };
  if (!transform()) return false;
  *value = rounded_down(a, f_new, n, b, g_new, m);
  if (std::isfinite(*value)) return true;
  // Costs or potentials at the end of the range: rows alone give a bound as well.
  for (Index j = 0; j < m; ++j) g_new[j] = b[j] > 0 ? 0 : -top;
  if (!transform()) return false;
  *value = rounded_down(a, f_new, n, b, g_new, m);
  if (std::isnan(*value)) *value = -std::numeric_limits<double>::infinity();
  return true;
}

template <class T>
bool cost_range(CostRows<T>& cost, const double* a, const double* b, const Cpu& exec,
                CostRange* range, double limit) noexcept {
  const auto& rows = gibbs_rows<T>();
  const RowBlocks& blocks = cost.blocks();
  CostRange parts[RowBlocks::most];
  if (!parallel_for(blocks.count, exec, [&](Index block) {
        parts[block] = {top, -top};
        blocks.each(block, exec, [&](Index i) {
          const T* c = cost.row(i, block);
          if (a[i] > 0) rows.range(c, b, limit, cost.cols(), &parts[block].low, &parts[block].high);
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
bool cost_excess(CostRows<T>& cost, const double* a, const double* b, double low, double limit,
                 const Cpu& exec, CostExcess* excess) noexcept {
  const auto& rows = gibbs_rows<T>();
  const RowBlocks& blocks = cost.blocks();
  const Index n = std::count_if(a, a + cost.rows(), [](double x) { return x > 0; });
  const Index m = std::count_if(b, b + cost.cols(), [](double x) { return x > 0; });
  *excess = {};
  if (n == 0 || m == 0) return true;
  const double share = 1 / (static_cast<double>(n) * static_cast<double>(m));
  CostExcess parts[RowBlocks::most];
  if (!parallel_for(blocks.count, exec, [&](Index block) {
        blocks.each(block, exec, [&](Index i) {
          if (!(a[i] > 0)) return;
          const RowSums sums = rows.excess(cost.row(i, block), b, limit, low, share, cost.cols());
          parts[block].share += sums.mass;
          parts[block].mean += sums.cost;
        });
      })) {
    return false;
  }
  for (Index block = 0; block < blocks.count; ++block) {
    excess->share += parts[block].share;
    excess->mean += parts[block].mean;
  }
  if (limit < std::numeric_limits<double>::infinity()) excess->mean /= excess->share;
  return true;
}

template <class T>
bool narrow_below_voids(CostRows<T>& cost, const double* a, const double* b,
                        const VoidSearch& search, const Cpu& exec, CostRange* range,
                        double* limit) noexcept {
  *limit = std::numeric_limits<double>::infinity();
  CostRange now = *range, below;
  for (; now.half() > search.half; now = below) {
    const double end = void_end(now);
    if (!(end > now.low)) break;
    CostExcess excess;
    if (search.share > 0 && !cost_excess(cost, a, b, now.low, end, exec, &excess)) return false;
    if (excess.share < search.share) break;
    if (!cost_range(cost, a, b, exec, &below, end)) return false;
    if (search.share > 0 && !(below.half() > 0)) break;
    if (!(below.half() > search.tried)) break;
    if (!is_below_void(below, now)) continue;
    *range = below;
    *limit = end;
  }
  return true;
}

template bool dual_value(CostRows<float>&, const float*, const float*, const double*, double*,
                         const Cpu&, double*) noexcept;
template bool dual_value(CostRows<double>&, const double*, const double*, const double*, double*,
                         const Cpu&, double*) noexcept;
template double below_rounded_distances(double, const float*, Index, Index) noexcept;
template double below_rounded_distances(double, const double*, Index, Index) noexcept;
template bool cost_range(CostRows<float>&, const double*, const double*, const Cpu&, CostRange*,
                         double) noexcept;
template bool cost_range(CostRows<double>&, const double*, const double*, const Cpu&, CostRange*,
                         double) noexcept;
template bool cost_excess(CostRows<float>&, const double*, const double*, double, double,
                          const Cpu&, CostExcess*) noexcept;
template bool cost_excess(CostRows<double>&, const double*, const double*, double, double,
                          const Cpu&, CostExcess*) noexcept;
template bool narrow_below_voids(CostRows<float>&, const double*, const double*, const VoidSearch&,
                                 const Cpu&, CostRange*, double*) noexcept;
template bool narrow_below_voids(CostRows<double>&, const double*, const double*, const VoidSearch&,
                                 const Cpu&, CostRange*, double*) noexcept;

namespace {

// The scratch of one problem at a time.
template <class T>
struct Workspace {
  Workspace(Arena& arena, const CostBatch<T>& cost) noexcept
      : scratch(arena.take<double>(dual_value_scratch(cost.rows, cost.cols))),
        rows(arena, cost.rows, cost.cols, !cost.points.given()) {}

  double* scratch;
  CostRows<T> rows;
};

template <class T>
Index bytes_per_problem(const CostBatch<T>& cost) noexcept {
  Arena arena(nullptr);
  const Workspace<T> work(arena, cost);
  return arena.bytes();
}

template <class T>
bool solve(const BoundProblem<T>& problem, Index k, double* bound, void* memory,
           const Cpu& exec) noexcept {
  Arena arena(memory);
  Workspace<T> work(arena, problem.cost);
  const PointsBatch<T>& points = problem.cost.points;
  points.given() ? work.rows.bind(points[k]) : work.rows.bind(problem.cost[k]);
  const T* a = problem.a[k];
  if (!dual_value(work.rows, a, problem.b[k], problem.f[k], work.scratch, exec, bound))
    return false;
  if (points.given()) *bound = below_rounded_distances(*bound, a, problem.cost.rows, points.dims);
  return true;
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index dual_bound_workspace(const BoundProblem<T>& problem, int threads) noexcept {
  return cpu::workspace_of(problem.cost, cpu::bytes_per_problem(problem.cost), threads);
}

template <class T>
Outcome dual_bound(const BoundProblem<T>& problem, double* bound, void* workspace,
                   const Cpu& exec) noexcept {
  return cpu::solve_batch(problem.cost, cpu::bytes_per_problem(problem.cost), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            return cpu::solve(problem, k, bound + k, memory, inner);
                          });
}

template Index dual_bound_workspace(const BoundProblem<float>&, int) noexcept;
template Index dual_bound_workspace(const BoundProblem<double>&, int) noexcept;
template Outcome dual_bound(const BoundProblem<float>&, double*, void*, const Cpu&) noexcept;
template Outcome dual_bound(const BoundProblem<double>&, double*, void*, const Cpu&) noexcept;

}  // namespace kantorch
