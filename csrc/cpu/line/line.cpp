#include "core/line.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <vector>

#include "cpu/line/order.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/runtime/compensated_sum.hpp"

namespace kantorch {
namespace {

using cpu::CompensatedSum;
using cpu::Placed;

// Gap and marginal errors, relative to potentials and mass, that rounding explains.
constexpr double rounding = 0x1p-42;

struct Cost {
  bool squared;

  double operator()(double x, double y) const noexcept {
    const double d = std::abs(x - y);
    return squared ? d * d : d;
  }

  // The cost from `to` to y, less that from `from`, without cancellation of what is common to both:
  // sums of such steps are as good as the potentials are large.
  double step(double from, double to, double y) const noexcept {
    if (squared) return (to - from) * ((to - y) + (from - y));
    if (y <= from) return to - from;
    if (y >= to) return from - to;
    return (to - y) - (y - from);
  }
};

// The points of one side in their order, with their weights.
struct Side {
  std::vector<Placed> points;
  std::vector<double> weights;
  double mass = 0;

  // False if stopped; may throw bad_alloc.
  template <class T>
  bool prepare(const T* places, const T* given, Index size, const Cpu& exec) {
    points.reserve(static_cast<std::size_t>(size));
    weights.reserve(static_cast<std::size_t>(size));
    const auto place = [&](Index k) {  // without -0
      points.push_back({static_cast<double>(places[k]) + 0.0, k});
    };
    if (!cpu::each_in_strips(size, exec, place) || !cpu::sort_points(points, exec)) return false;
    CompensatedSum sum;
    const auto weigh = [&](Index k) {
      weights.push_back(given == nullptr ? 1 / static_cast<double>(size)
                                         : static_cast<double>(given[points[k].index]));
      sum.add(weights.back());
    };
    if (!cpu::each_in_strips(size, exec, weigh)) return false;
    mass = sum.total();
    return true;
  }

  void rescale(double factor) noexcept {
    for (double& weight : weights) weight *= factor;
  }
  Index size() const noexcept { return static_cast<Index>(points.size()); }
};

// A point of one side while the plan passes it.
struct Passing {
  Side& side;
  double* potentials;
  Index at = 0;
  double left = 0;
  double shipped = 0;
  CompensatedSum potential;
  CompensatedSum dual;
  double largest = 0;
  double unshipped = 0;

  Passing(Side& of, double* to) : side(of), potentials(to) {}
  bool last() const noexcept { return at + 1 == side.size(); }
  double place() const noexcept { return side.points[at].at; }
  Index index() const noexcept { return side.points[at].index; }

  void enter() noexcept {
    const double value = potential.total();
    left = side.weights[at];
    shipped = 0;
    potentials[index()] = value;
    largest = std::max(largest, std::abs(value));
    dual.add(left * value);
  }
  void ship(double amount) noexcept {
    left -= amount;
    shipped += amount;
  }
  void leave() noexcept { unshipped += std::abs(side.weights[at] - shipped); }

  void advance(const Cost& cost, double opposite) noexcept {
    leave();
    const double from = place();
    ++at;
    potential.add(cost.step(from, place(), opposite));
    enter();
  }
};

// The north-west corner rule on sorted points. A cost that is a convex function of x - y has the
// Monge property, so that the plan is optimal (Hoffman, 1963), and so are the potentials that make
// the reduced costs along the staircase of its cells vanish: reduced costs are a Monge matrix, too,
// and one that vanishes on a staircase is nowhere negative. Points without mass take a step of the
// staircase like others.
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
  // A ratio at the level of rounding is none, so that equal weights stay equal.
  const double ratio = cols.mass > 0 ? rows.mass / cols.mass : 1;
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  if (std::abs(ratio - 1) > static_cast<double>(n + m) * epsilon) cols.rescale(ratio);

  const Cost cost{problem.squared};
  std::int64_t* const plan_row = result.plan_row + k * cells;
  std::int64_t* const plan_col = result.plan_col + k * cells;
  double* const plan_mass = result.plan_mass + k * cells;
  Passing row(rows, result.f + k * n);
  Passing col(cols, result.g + k * m);
  CompensatedSum value;
  row.potential.add(cost(row.place(), col.place()));
  row.enter();
  col.enter();
  for (Index cell = 0; cell < cells; ++cell) {
    if (cell % poll == poll - 1 && exec.stopped()) return false;
    const double amount = std::min(row.left, col.left);
    row.ship(amount);
    col.ship(amount);
    value.add(amount * cost(row.place(), col.place()));
    plan_row[cell] = amount > 0 ? row.index() : 0;
    plan_col[cell] = amount > 0 ? col.index() : 0;
    plan_mass[cell] = amount;
    if (!row.last() && (!(row.left > 0) || col.last())) {
      row.advance(cost, col.place());
    } else if (!col.last()) {
      col.advance(cost, row.place());
    }
  }
  row.leave();
  col.leave();

  const double marginal_error = rows.mass > 0 ? (row.unshipped + col.unshipped) / rows.mass : 0;
  const double gap = value.total() - (row.dual.total() + col.dual.total());
  const double level = rounding * (row.largest + col.largest) * rows.mass;
  const bool verified = std::abs(gap) <= level && marginal_error <= rounding;
  result.value[k] = value.total();
  result.marginal_error[k] = marginal_error;
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
