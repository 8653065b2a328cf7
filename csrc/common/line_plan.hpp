// Transport between points on a line by the north-west corner rule, as both devices walk it.
//
// A cost that is a convex function of x - y has the Monge property, so that the plan of the rule on sorted points is
// optimal (Hoffman, 1963), and so are the potentials that make the reduced costs along the staircase of its cells
// vanish: reduced costs are a Monge matrix, too, and one that vanishes on a staircase is nowhere negative. Points
// without mass take a step of the staircase like others.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/compensated_sum.hpp"
#include "core/view.hpp"

namespace kantorch::line_plan {

// Gap and marginal errors, relative to potentials and mass, that rounding explains.
constexpr double rounding = 0x1p-42;

// What is left of a point's weight is nothing below this part of it: sums of rounded weights differ
// by as much, and it might have to travel far.
constexpr double hardly = 0x1p-48;

struct Cost {
  bool squared;

  KANTORCH_BOTH double operator()(double x, double y) const noexcept {
    const double d = std::fabs(x - y);
    return squared ? d * d : d;
  }

  // The cost from `to` to y, less that from `from`, without cancellation of what is common to both:
  // sums of such steps are as good as the potentials are large.
  KANTORCH_BOTH double step(double from, double to, double y) const noexcept {
    if (squared) return (to - from) * ((to - y) + (from - y));
    if (y <= from) return to - from;
    if (y >= to) return from - to;
    return (to - y) - (y - from);
  }

  // What a step rounds to within some units in the last place of.
  KANTORCH_BOTH double terms(double from, double to, double y) const noexcept {
    return squared ? (to - from) * (std::fabs(to - y) + std::fabs(from - y)) : to - from;
  }

  // Of a cost, where places have this one.
  KANTORCH_BOTH int exponent_of(int places) const noexcept { return squared ? 2 * places : places; }

  // The exponent of a power of two that brings distances where costs and their sums are in range.
  KANTORCH_BOTH int exponent(double farthest) const noexcept {
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

  KANTORCH_BOTH void subtract(const Weight& other) noexcept {
    const double difference = high - other.high;
    const double back = difference - high;
    low += ((high - (difference - back)) - (other.high + back)) - other.low;
    high = difference + low;
    low -= high - difference;
  }
  KANTORCH_BOTH bool operator<(const Weight& other) const noexcept {
    return high < other.high || (high == other.high && low < other.low);
  }
};

// How to bring the weights of two sides to the same mass in a unit in which sums are in range: by a factor a side, or all
// of a side become `rows` or `cols`. The given weights are these, divided by `divisor` and multiplied by `unit`.
struct Balance {
  bool equal;
  double rows, cols;
  double divisor, unit;
};

// From the largest weight of each side; `equal` if no side has two different ones.
KANTORCH_BOTH Balance balance(Index n, Index m, double largest_row, double largest_col,
                              bool equal) noexcept {
  if (equal && largest_row > 0 && largest_col > 0) {
    const auto rows = static_cast<double>(n), cols = static_cast<double>(m);
    return {true, cols, rows, cols, largest_row};  // small integers keep every tie
  }
  int exponent = 0;
  std::frexp(std::fmax(largest_row, largest_col), &exponent);
  exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
  const double down = std::ldexp(1.0, -exponent);
  return {false, down, down, 1, std::ldexp(1.0, exponent)};
}

// What then brings columns to the mass of rows. A ratio at the level of rounding is none, so that equal weights stay
// equal.
KANTORCH_BOTH double ratio_of(double mass_rows, double mass_cols, Index points) noexcept {
  const double ratio = mass_cols > 0 ? mass_rows / mass_cols : 1;
  const double noise = static_cast<double>(points) * std::numeric_limits<double>::epsilon();
  return std::fabs(ratio - 1) > noise ? ratio : 1;
}

// A point of one side while the plan passes it.
template <class Side>
struct Passing {
  const Side& side;
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

  KANTORCH_BOTH Passing(const Side& of, double* to) : side(of), potentials(to) {}
  KANTORCH_BOTH bool last() const noexcept { return at + 1 == side.size(); }
  KANTORCH_BOTH bool empty() const noexcept { return !(left.high > 0); }
  KANTORCH_BOTH double place() const noexcept { return side.place(at); }
  KANTORCH_BOTH double next_place() const noexcept { return side.place(at + 1); }
  KANTORCH_BOTH Index index() const noexcept { return side.index(at); }

  KANTORCH_BOTH void enter() noexcept {
    const double value = potential.total();
    left = {side.weight(at), 0};
    shipped = 0;
    potentials[index()] = value;
    largest = std::fmax(largest, std::fabs(value));
    dual.add(left.high * value);
  }
  // All that is left, of which the other point has room for.
  KANTORCH_BOTH double ship_to(Passing& other) noexcept {
    const double amount = left.high;
    other.left.subtract(left);
    if (other.left.high <= hardly * other.side.weight(other.at)) other.left = {};
    left = {};
    shipped += amount;
    other.shipped += amount;
    return amount;
  }
  KANTORCH_BOTH void leave() noexcept { unshipped += std::fabs(side.weight(at) - shipped); }

  // The next point, of which the cell with `opposite` vanishes, too.
  KANTORCH_BOTH void advance(const Cost& cost, double opposite) noexcept {
    const double from = place(), to = next_place();
    advance(cost.step(from, to, opposite), cost.terms(from, to, opposite));
  }
  KANTORCH_BOTH void advance(double step, double terms) noexcept {
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
template <class Side>
KANTORCH_BOTH void advance_both(const Cost& cost, Passing<Side>& row, Passing<Side>& col) noexcept {
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

// Where the plan of a problem goes; see ExactResult.
struct Plan {
  double* f;
  double* g;
  std::int64_t* row;
  std::int64_t* col;
  double* mass;
};

// What a walk has found.
struct Walked {
  double value;           // in the units of the balance and of the places
  double marginal_error;  // relative
  double lowered;         // what rounding may have added to a potential
  bool verified;          // marginals, gap and order are as they must be
};

// A side has size(), place(k), weight(k), index(k) of its points in their order, and `mass`. False if stopped(cell) was
// true in between.
template <class Side, class Stopped>
KANTORCH_BOTH bool walk(const Cost& cost, const Side& rows, const Side& cols, const Balance& to,
                        const Plan& plan, Stopped&& stopped, Walked* walked) noexcept {
  const Index cells = rows.size() + cols.size() - 1;
  const double unit = to.unit / to.divisor;
  Passing<Side> row(rows, plan.f);
  Passing<Side> col(cols, plan.g);
  CompensatedSum value;
  row.potential.add(cost(row.place(), col.place()));
  row.rounded = cost(row.place(), col.place());
  row.enter();
  col.enter();
  for (Index cell = 0; cell < cells; ++cell) {
    if (stopped(cell)) return false;
    const double amount = row.left < col.left ? row.ship_to(col) : col.ship_to(row);
    value.add(amount * cost(row.place(), col.place()));
    plan.row[cell] = amount > 0 ? row.index() : 0;
    plan.col[cell] = amount > 0 ? col.index() : 0;
    plan.mass[cell] = amount == to.divisor ? to.unit : amount * unit;
    if (!row.last() && !col.last() && row.empty() && col.empty()) {
      ++cell;  // a corner of the staircase, without mass
      plan.row[cell] = plan.col[cell] = 0;
      plan.mass[cell] = 0;
      advance_both(cost, row, col);
    } else if (!row.last() && (row.empty() || col.last())) {
      row.advance(cost, col.place());
    } else if (!col.last()) {
      col.advance(cost, row.place());
    }
  }
  row.leave();
  col.leave();
  const double gap = value.total() - (row.dual.total() + col.dual.total());
  const double level = rounding * (row.largest + col.largest) * rows.mass;
  const double error = rows.mass > 0 ? (row.unshipped + col.unshipped) / rows.mass : 0;
  walked->value = value.total();
  walked->marginal_error = error;
  walked->lowered = 0x1p-50 * (row.rounded + col.rounded);
  // A plan with the right marginals whose cells go up in both orders is optimal, whatever its costs are and however well
  // potentials can tell.
  walked->verified = row.ordered && col.ordered && error <= rounding && std::fabs(gap) <= level;
  return true;
}

// The value in the units of the costs and the weights; places were multiplied by 2^exponent.
KANTORCH_BOTH double value_of(const Walked& walked, const Cost& cost, const Balance& from,
                              int exponent) noexcept {
  int mass_exponent = 0;
  const double mantissa = std::frexp(from.unit, &mass_exponent);
  return std::ldexp(walked.value / from.divisor * mantissa,
                    cost.exponent_of(-exponent) + mass_exponent);
}

}  // namespace kantorch::line_plan
