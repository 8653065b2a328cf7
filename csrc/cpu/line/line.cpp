#include "core/line.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <utility>
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

// What is left of a point's weight is nothing below this part of it: sums of rounded weights differ
// by as much, and it might have to travel far.
constexpr double hardly = 0x1p-48;

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

  // What a step rounds to within some units in the last place of.
  double terms(double from, double to, double y) const noexcept {
    return squared ? (to - from) * (std::abs(to - y) + std::abs(from - y)) : to - from;
  }

  // The exponent of a power of two that brings distances where costs and their sums are in range.
  int exponent(double farthest) const noexcept {
    constexpr int wanted = 450, least = -300, most = 450;
    int exponent = 0;
    std::frexp(farthest, &exponent);
    return farthest > 0 && (exponent < least || exponent > most) ? wanted - exponent : 0;
  }
};

// The exact difference of weights, as far as two doubles hold it (Knuth's two-sum).
struct Weight {
  double high = 0;
  double low = 0;

  void subtract(const Weight& other) noexcept {
    const double difference = high - other.high;
    const double back = difference - high;
    low += ((high - (difference - back)) - (other.high + back)) - other.low;
    high = difference + low;
    low -= high - difference;
  }
  bool operator<(const Weight& other) const noexcept {
    return high < other.high || (high == other.high && low < other.low);
  }
};

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

// Brings both sides to the same mass in a unit in which sums are in range. The given weights are
// these, divided by the first and multiplied by the second number that is returned.
std::pair<double, double> balance(Side& rows, Side& cols) noexcept {
  const auto n = static_cast<double>(rows.size()), m = static_cast<double>(cols.size());
  if (rows.equal && cols.equal && rows.largest > 0 && cols.largest > 0) {
    rows.equate(m);  // small integers keep every tie
    cols.equate(n);
    return {m, rows.largest};
  }
  int exponent = 0;
  std::frexp(std::max(rows.largest, cols.largest), &exponent);
  exponent = std::clamp(exponent, -1000, 1000);
  rows.rescale(std::ldexp(1.0, -exponent));
  cols.rescale(std::ldexp(1.0, -exponent));
  // A ratio at the level of rounding is none, so that equal weights stay equal.
  const double ratio = cols.mass > 0 ? rows.mass / cols.mass : 1;
  if (std::abs(ratio - 1) > (n + m) * std::numeric_limits<double>::epsilon()) cols.rescale(ratio);
  return {1, std::ldexp(1.0, exponent)};
}

// A point of one side while the plan passes it.
struct Passing {
  Side& side;
  double* potentials;
  Index at = 0;
  Weight left;
  double shipped = 0;
  CompensatedSum potential;
  CompensatedSum dual;
  double largest = 0;
  double unshipped = 0;
  double rounded = 0;   // the sum of all terms that were rounded
  bool ordered = true;  // all points so far

  Passing(Side& of, double* to) : side(of), potentials(to) {}
  bool last() const noexcept { return at + 1 == side.size(); }
  bool empty() const noexcept { return !(left.high > 0); }
  double place() const noexcept { return side.points[at].at; }
  double next_place() const noexcept { return side.points[at + 1].at; }
  Index index() const noexcept { return side.points[at].index; }

  void enter() noexcept {
    const double value = potential.total();
    left = {side.weights[at], 0};
    shipped = 0;
    potentials[index()] = value;
    largest = std::max(largest, std::abs(value));
    dual.add(left.high * value);
  }
  // All that is left, of which the other point has room for.
  double ship_to(Passing& other) noexcept {
    const double amount = left.high;
    other.left.subtract(left);
    if (other.left.high <= hardly * other.side.weights[other.at]) other.left = {};
    left = {};
    shipped += amount;
    other.shipped += amount;
    return amount;
  }
  void leave() noexcept { unshipped += std::abs(side.weights[at] - shipped); }

  // The next point, of which the cell with `opposite` vanishes, too.
  void advance(const Cost& cost, double opposite) noexcept {
    const double from = place(), to = next_place();
    advance(cost.step(from, to, opposite), cost.terms(from, to, opposite));
  }
  void advance(double step, double terms) noexcept {
    leave();
    ordered = ordered && place() <= next_place();
    ++at;
    potential.add(step);
    rounded += terms;
    enter();
  }
};

// Both next points at once, where no mass ties them to the points before. The potential of the row
// may then change by anything between the steps that the two ways around the corner bring: it stays
// as it is, if it can, so that a gap between points costs no digits.
void advance_both(const Cost& cost, Passing& row, Passing& col) noexcept {
  const double x = row.place(), y = col.place();
  if (cost.step(x, row.next_place(), y) < 0) {
    row.advance(cost, y);
    col.advance(cost, row.place());
  } else if (cost.step(x, row.next_place(), col.next_place()) > 0) {
    col.advance(cost, x);
    row.advance(cost, col.place());
  } else {
    const double here = cost(x, y), there = cost(row.next_place(), col.next_place());
    row.advance(0, 0);
    col.potential.add(-here);
    col.advance(there, here + there);
  }
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
  const auto [divisor, factor] = balance(rows, cols);
  const double unit = factor / divisor;

  const Cost cost{problem.squared};
  const double farthest = std::max(rows.high() - cols.low(), cols.high() - rows.low());
  const int exponent = cost.exponent(farthest);
  if (exponent != 0) {
    rows.move(exponent);
    cols.move(exponent);
  }

  double* const f = result.f + k * n;
  double* const g = result.g + k * m;
  std::int64_t* const plan_row = result.plan_row + k * cells;
  std::int64_t* const plan_col = result.plan_col + k * cells;
  double* const plan_mass = result.plan_mass + k * cells;
  Passing row(rows, f);
  Passing col(cols, g);
  CompensatedSum value;
  row.potential.add(cost(row.place(), col.place()));
  row.rounded = cost(row.place(), col.place());
  row.enter();
  col.enter();
  for (Index cell = 0; cell < cells; ++cell) {
    if (cell % poll == poll - 1 && exec.stopped()) return false;
    const double amount = row.left < col.left ? row.ship_to(col) : col.ship_to(row);
    value.add(amount * cost(row.place(), col.place()));
    plan_row[cell] = amount > 0 ? row.index() : 0;
    plan_col[cell] = amount > 0 ? col.index() : 0;
    plan_mass[cell] = amount == divisor ? factor : amount * unit;
    if (!row.last() && !col.last() && row.empty() && col.empty()) {
      ++cell;  // a corner of the staircase, without mass
      plan_row[cell] = plan_col[cell] = 0;
      plan_mass[cell] = 0;
      advance_both(cost, row, col);
    } else if (!row.last() && (row.empty() || col.last())) {
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
  const int cost_exponent = -exponent * (problem.squared ? 2 : 1);
  int mass_exponent = 0;
  const double mantissa = std::frexp(factor, &mass_exponent);
  result.value[k] = std::ldexp(value.total() / divisor * mantissa, cost_exponent + mass_exponent);
  const bool in_range =
      write_potentials(f, n, g, m, 0x1p-50 * (row.rounded + col.rounded), cost_exponent);
  // A plan with the right marginals whose cells go up in both orders is optimal, whatever its costs
  // are and however well potentials can tell.
  const bool verified = row.ordered && col.ordered && marginal_error <= rounding &&
                        std::abs(gap) <= level && in_range &&
                        std::isfinite(static_cast<T>(result.value[k]));
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
