#include "cpu/bound.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <new>

#include "core/scaling.hpp"
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
bool dual_value(const MatrixView<T>& cost, const W* a, const W* b, const double* f, double* scratch,
                const Control& control, double* value) noexcept {
  const auto& rows = gibbs_rows<T>();
  const Index n = cost.rows, m = cost.cols;
  const RowBlocks blocks(n);
  double* f_new = scratch;
  double* g_new = f_new + n;
  double* low = g_new + m;
  if (!parallel_for(blocks.count, control, [&](Index block) {
        double* low_of_block = low + block * m;
        std::fill_n(low_of_block, m, top);
        for (Index i = blocks.first(block); i < blocks.last(block) && !control.stopped(); ++i) {
          if (a[i] > 0) rows.lower(cost.row(i), f[i], m, low_of_block);
        }
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
  if (!parallel_for(blocks.count, control, [&](Index block) {
        for (Index i = blocks.first(block); i < blocks.last(block) && !control.stopped(); ++i) {
          f_new[i] = std::clamp(rows.smallest(cost.row(i), g_new, m), -top, top);
        }
      })) {
    return false;
  }
  double mass_a, mass_b;
  const double along_a = inner(a, f_new, n, &mass_a), along_b = inner(b, g_new, m, &mass_b);
  *value = mass_b > 0 ? along_a + along_b * (mass_a / mass_b) : 0;
  return true;
}

template <class T>
bool cost_range(const MatrixView<T>& cost, const double* a, const double* b, const Control& control,
                CostRange* range) noexcept {
  const auto& rows = gibbs_rows<T>();
  const RowBlocks blocks(cost.rows);
  CostRange parts[RowBlocks::most];
  if (!parallel_for(blocks.count, control, [&](Index block) {
        parts[block] = {top, -top};
        for (Index i = blocks.first(block); i < blocks.last(block) && !control.stopped(); ++i) {
          if (a[i] > 0)
            rows.range(cost.row(i), b, cost.cols, &parts[block].low, &parts[block].high);
        }
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
bool mean_excess(const MatrixView<T>& cost, const double* a, const double* b, double low,
                 const Control& control, double* mean) noexcept {
  const auto& rows = gibbs_rows<T>();
  const RowBlocks blocks(cost.rows);
  const Index n = std::count_if(a, a + cost.rows, [](double x) { return x > 0; });
  const Index m = std::count_if(b, b + cost.cols, [](double x) { return x > 0; });
  *mean = 0;
  if (n == 0 || m == 0) return true;
  const double share = 1 / (static_cast<double>(n) * static_cast<double>(m));
  double parts[RowBlocks::most] = {};
  if (!parallel_for(blocks.count, control, [&](Index block) {
        for (Index i = blocks.first(block); i < blocks.last(block) && !control.stopped(); ++i) {
          if (a[i] > 0) parts[block] += rows.excess(cost.row(i), b, low, share, cost.cols);
        }
      })) {
    return false;
  }
  for (Index block = 0; block < blocks.count; ++block) *mean += parts[block];
  return true;
}

template bool dual_value(const MatrixView<float>&, const float*, const float*, const double*,
                         double*, const Control&, double*) noexcept;
template bool dual_value(const MatrixView<float>&, const double*, const double*, const double*,
                         double*, const Control&, double*) noexcept;
template bool dual_value(const MatrixView<double>&, const double*, const double*, const double*,
                         double*, const Control&, double*) noexcept;
template bool cost_range(const MatrixView<float>&, const double*, const double*, const Control&,
                         CostRange*) noexcept;
template bool cost_range(const MatrixView<double>&, const double*, const double*, const Control&,
                         CostRange*) noexcept;
template bool mean_excess(const MatrixView<float>&, const double*, const double*, double,
                          const Control&, double*) noexcept;
template bool mean_excess(const MatrixView<double>&, const double*, const double*, double,
                          const Control&, double*) noexcept;

}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Outcome dual_bound(const BoundProblem<T>& problem, double* bound, const Control& control) noexcept {
  const auto& cost = problem.cost;
  const Index slots = cpu::slots(cost.batch, cost.rows, cost.cols, control.threads);
  const Index size = cpu::dual_value_scratch(cost.rows, cost.cols);
  const std::unique_ptr<double[]> scratch(
      new (std::nothrow) double[static_cast<std::size_t>(slots * size)]);
  if (!scratch) return Outcome::out_of_memory;
  const bool finished = cpu::for_each_problem(
      cost.batch, slots, control, [&](Index k, Index slot, const Control& inner) {
        return cpu::dual_value(cost[k], problem.a[k], problem.b[k], problem.f[k],
                               scratch.get() + slot * size,
                               cpu::for_passes(inner, cost.rows, cost.cols), bound + k);
      });
  return finished ? Outcome::done : Outcome::interrupted;
}

template Outcome dual_bound(const BoundProblem<float>&, double*, const Control&) noexcept;
template Outcome dual_bound(const BoundProblem<double>&, double*, const Control&) noexcept;

}  // namespace kantorch
