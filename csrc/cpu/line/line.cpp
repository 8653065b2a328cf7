#include "core/line.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <vector>

#include "common/line_plan.hpp"
#include "cpu/line/order.hpp"
#include "cpu/runtime/batch.hpp"

namespace kantorch {
namespace {

using cpu::Placed;
using line_plan::Balance;
using line_plan::Cost;
using line_plan::Plan;
using line_plan::Walked;

// The points of one side in their order, with their weights.
struct Side {
  std::vector<Placed> points;
  std::vector<double> weights;
  double mass = 0;
  double largest = 0;  // weight
  bool equal = true;   // all weights

  // False if stopped; may throw bad_alloc.
  template <class T>
  bool prepare(const T* places, const T* given, Index size, const Cpu& exec) {
    points.reserve(static_cast<std::size_t>(size));
    weights.reserve(static_cast<std::size_t>(size));
    const auto place = [&](Index k) {  // without -0
      points.push_back({static_cast<double>(places[k]) + 0.0, k});
    };
    if (!cpu::each_in_strips(size, exec, place) || !cpu::sort_points(points, exec)) return false;
    const auto weigh = [&](Index k) {
      weights.push_back(given == nullptr ? 1 / static_cast<double>(size)
                                         : static_cast<double>(given[points[k].index]));
      largest = std::max(largest, weights.back());
      equal = equal && weights.back() == weights.front();
    };
    return cpu::each_in_strips(size, exec, weigh);
  }

  double place(Index k) const noexcept { return points[k].at; }
  double weight(Index k) const noexcept { return weights[k]; }
  std::int64_t index(Index k) const noexcept { return points[k].index; }
  Index size() const noexcept { return static_cast<Index>(points.size()); }
  double low() const noexcept { return points.front().at; }
  double high() const noexcept { return points.back().at; }

  void rescale(double factor) noexcept {
    CompensatedSum sum;
    for (double& weight : weights) {
      weight *= factor;
      sum.add(weight);
    }
    mass = sum.total();
  }
  void equate(double weight) noexcept {
    std::fill(weights.begin(), weights.end(), weight);
    mass = weight * static_cast<double>(size());
  }
  void move(int exponent) noexcept {
    for (Placed& point : points) point.at = std::ldexp(point.at, exponent);
  }
};

// Brings both sides to the same mass.
Balance bring_together(Side& rows, Side& cols) noexcept {
  const Balance to = line_plan::balance(rows.size(), cols.size(), rows.largest, cols.largest,
                                        rows.equal && cols.equal);
  if (to.equal) {
    rows.equate(to.rows);
    cols.equate(to.cols);
    return to;
  }
  rows.rescale(to.rows);
  cols.rescale(to.cols);
  const double ratio = line_plan::ratio_of(rows.mass, cols.mass, rows.size() + cols.size());
  if (ratio != 1) cols.rescale(ratio);
  return to;
}

// Potentials in the unit of the cost, lowered by all that may have been rounded: so they are
// feasible but for their own last digits. False if they leave the range: then they become 0, which
// is feasible for costs that are not negative.
bool write_potentials(double* f, Index n, double* g, Index m, double lowered,
                      int exponent) noexcept {
  for (Index i = 0; i < n; ++i) f[i] -= lowered;
  if (exponent != 0) {
    for (Index i = 0; i < n; ++i) f[i] = std::ldexp(f[i], exponent);
    for (Index j = 0; j < m; ++j) g[j] = std::ldexp(g[j], exponent);
  }
  const auto finite = [](double x) { return std::isfinite(x); };
  if (std::all_of(f, f + n, finite) && std::all_of(g, g + m, finite)) return true;
  std::fill_n(f, n, 0.0);
  std::fill_n(g, m, 0.0);
  return false;
}

template <class T>
bool solve_one(const LineProblem<T>& problem, Index k, const ExactResult& result, Side& rows,
               Side& cols, const Cpu& exec) {
  constexpr Index poll = 1 << 16;
  const Index n = problem.rows, m = problem.cols, cells = n + m - 1;
  std::atomic<bool> whole{true}, memory{true};
  const bool sorted = cpu::parallel_for(2, exec, [&](Index side) {
    try {
      const Cpu serial = exec.serial();
      if (!(side == 0 ? rows.prepare(problem.x[k], problem.a[k], n, serial)
                      : cols.prepare(problem.y[k], problem.b[k], m, serial)))
        whole = false;
    } catch (const std::bad_alloc&) {
      memory = false;
    }
  });
  if (!memory) throw std::bad_alloc();
  if (!sorted || !whole) return false;
  const Balance to = bring_together(rows, cols);

  const Cost cost{problem.squared};
  const double farthest = std::max(rows.high() - cols.low(), cols.high() - rows.low());
  const int exponent = cost.exponent(farthest);
  if (exponent != 0) {
    rows.move(exponent);
    cols.move(exponent);
  }

  const Plan plan{result.f + k * n, result.g + k * m, result.plan_row + k * cells,
                  result.plan_col + k * cells, result.plan_mass + k * cells};
  Walked walked;
  const auto stopped = [&](Index cell) { return cell % poll == poll - 1 && exec.stopped(); };
  if (!line_plan::walk(cost, rows, cols, to, plan, stopped, &walked)) return false;

  result.value[k] = value_of(walked, cost, to, exponent);
  const bool in_range =
      write_potentials(plan.f, n, plan.g, m, walked.lowered, cost.exponent_of(-exponent));
  const bool verified =
      walked.verified && in_range && std::isfinite(static_cast<T>(result.value[k]));
  result.marginal_error[k] = walked.marginal_error;
  result.n_iter[k] = 0;
  result.status[k] =
      static_cast<std::int32_t>(verified ? Status::optimal : Status::precision_limit);
  return true;
}

}  // namespace

template <class T>
Outcome line(const LineProblem<T>& problem, const ExactResult& result, const Cpu& exec) noexcept {
  const Index slots = cpu::slots(problem.batch, problem.rows, problem.cols, exec.threads);
  std::atomic<bool> memory{true};
  const bool finished =
      cpu::for_each_problem(problem.batch, slots, exec, [&](Index k, Index, const Cpu& c) {
        try {
          Side rows, cols;
          return solve_one(problem, k, result, rows, cols, c);
        } catch (const std::bad_alloc&) {
          memory = false;
          return false;
        }
      });
  if (!memory) return Outcome::out_of_memory;
  return finished ? Outcome::done : Outcome::interrupted;
}

template Outcome line(const LineProblem<float>&, const ExactResult&, const Cpu&) noexcept;
template Outcome line(const LineProblem<double>&, const ExactResult&, const Cpu&) noexcept;

}  // namespace kantorch
