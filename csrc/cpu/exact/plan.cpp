#include "cpu/exact/plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/compensated_sum.hpp"

namespace kantorch::cpu::network {
namespace {

double finite(double x) noexcept {
  constexpr double largest = std::numeric_limits<double>::max();
  return std::clamp(x, -largest, largest);
}

// Points that take no part as -1, the others as their working index.
std::vector<Node> positions(const std::vector<Node>& points, Index size) {
  std::vector<Node> position(static_cast<std::size_t>(size), -1);
  for (std::size_t k = 0; k < points.size(); ++k) position[points[k]] = static_cast<Node>(k);
  return position;
}

// The duals of the points that take no part, by c-transforms: g from the working rows, then f from
// all columns, so that no pair of them is violated.
template <class T>
bool complete_duals(const Instance<T>& instance, const Cpu& exec, const Answer& answer) {
  const auto& kernels = reduced_cost_table().rows(T{});
  const MatrixView<T>& cost = instance.cost;
  if (instance.m() < cost.cols) {
    std::vector<double> low(static_cast<std::size_t>(cost.cols),
                            std::numeric_limits<double>::infinity());
    for (const Node i : instance.rows) {
      kernels.lower(cost.row(i), 1, 0, answer.f[i], cost.cols, low.data());
      if (exec.stopped()) return false;
    }
    const std::vector<Node> position = positions(instance.cols, cost.cols);
    for (Index j = 0; j < cost.cols; ++j)
      if (position[j] < 0) answer.g[j] = finite(low[j]);
  }
  if (instance.n() < cost.rows) {
    const std::vector<Node> position = positions(instance.rows, cost.rows);
    for (Index i = 0; i < cost.rows; ++i) {
      if (position[i] >= 0) continue;
      answer.f[i] = finite(kernels.least(cost.row(i), 1, 0, answer.g, cost.cols));
      if (exec.stopped()) return false;
    }
  }
  return true;
}

// The plan, filled so that no point gives or gets more than its mass. Every point but one column
// has a slot of its own: a cell of the support is in the slot of the point that it is the last cell
// of.
class Shipment {
 public:
  Shipment(Index n, Index m, Index root_col, const double* a, const double* b, double b_scale,
           const Answer& answer)
      : answer_(answer),
        n_(n),
        m_(m),
        root_(n + root_col),
        row_left_(a, a + n),
        col_left_(b, b + m) {
    for (double& mass : col_left_) mass *= b_scale;
    clear(n, m, answer);
  }

  static void clear(Index n, Index m, const Answer& answer) noexcept {
    std::fill_n(answer.plan_row, n + m - 1, 0);
    std::fill_n(answer.plan_col, n + m - 1, 0);
    std::fill_n(answer.plan_mass, n + m - 1, 0.0);
  }

  bool row_left(Index i) const noexcept { return row_left_[i] > 0; }
  bool col_left(Index j) const noexcept { return col_left_[j] > 0; }
  Index row_slot(Index i) const noexcept { return i; }
  Index col_slot(Index j) const noexcept { return n_ + j - (n_ + j > root_ ? 1 : 0); }

  // As much as both points of the cell still have.
  void ship(Index slot, Index i, Index j) noexcept {
    double& from = row_left_[i];
    double& to = col_left_[j];
    const double amount = std::min(from, to);
    if (!(amount > 0)) return;
    answer_.plan_row[slot] = i;
    answer_.plan_col[slot] = j;
    answer_.plan_mass[slot] += amount;
    from -= amount;
    to -= amount;
  }

  // Brings what rounding has left at rows to where it is missing at columns. There are slots for
  // it: a point keeps something only if its slot is empty or the point it ships to or from has
  // nothing left, and then that one's slot is empty. Cells dearer than any so far stay empty, since
  // their cost may be out of all proportion: what remains is a marginal error at rounding level.
  template <class T>
  void ship_rest(const MatrixView<T>& cost) noexcept {
    T dearest = std::numeric_limits<T>::lowest();
    for (Index slot = 0; slot < n_ + m_ - 1; ++slot)
      if (answer_.plan_mass[slot] > 0)
        dearest = std::max(dearest, cost.row(answer_.plan_row[slot])[answer_.plan_col[slot]]);
    Index first = 0;
    Index free = 0;
    for (Index i = 0; i < n_; ++i) {
      if (!row_left(i)) continue;
      while (first < m_ && !col_left(first)) ++first;
      if (first == m_) return;
      for (Index j = first; j < m_ && row_left(i); ++j) {
        if (!col_left(j) || cost.row(i)[j] > dearest) continue;
        Index slot = row_slot(i);
        if (!holds(slot, i, j)) slot = n_ + j == root_ ? -1 : col_slot(j);
        if (slot < 0 || !holds(slot, i, j)) {
          while (free < n_ + m_ - 1 && answer_.plan_mass[free] > 0) ++free;
          if (free == n_ + m_ - 1) return;
          slot = free;
        }
        ship(slot, i, j);
      }
    }
  }

 private:
  bool holds(Index slot, Index i, Index j) const noexcept {
    return answer_.plan_mass[slot] > 0 && answer_.plan_row[slot] == i &&
           answer_.plan_col[slot] == j;
  }

  const Answer& answer_;
  const Index n_;
  const Index m_;
  const Index root_;
  std::vector<double> row_left_;
  std::vector<double> col_left_;
};

// The exponent of a power of two that brings x to about 1, or as near to it as a double can.
int unit_exponent(double x) noexcept {
  int exponent = 0;
  std::frexp(x, &exponent);
  return std::clamp(-exponent, -1000, 1000);
}

// <P, C>, in range between the products too.
template <class T>
double value_of(const MatrixView<T>& cost, const Answer& answer, double mass) noexcept {
  const Index cells = cost.rows + cost.cols - 1;
  const auto paid = [&](Index slot) {
    return static_cast<double>(cost.row(answer.plan_row[slot])[answer.plan_col[slot]]);
  };
  double dearest = 0;
  for (Index slot = 0; slot < cells; ++slot)
    if (answer.plan_mass[slot] > 0) dearest = std::max(dearest, std::abs(paid(slot)));
  const int cost_exponent = unit_exponent(dearest), mass_exponent = unit_exponent(mass);
  const double cost_unit = std::ldexp(1.0, cost_exponent);
  const double mass_unit = std::ldexp(1.0, mass_exponent);
  CompensatedSum value;
  for (Index slot = 0; slot < cells; ++slot)
    if (answer.plan_mass[slot] > 0)
      value.add((answer.plan_mass[slot] * mass_unit) * (paid(slot) * cost_unit));
  return std::ldexp(value.total(), -cost_exponent - mass_exponent);
}

// Value and marginal error of the plan, and its gap but for the slack.
template <class T>
Gap assess(const Instance<T>& instance, const MatrixView<T>& cost, const double* a, const double* b,
           const std::vector<char>& supported, const Answer& answer) {
  const Index n = cost.rows;
  const Index m = cost.cols;
  std::vector<double> row_error(a, a + n);
  std::vector<double> col_error(b, b + m);
  for (double& mass : col_error) mass *= instance.b_scale;
  // Potentials matter up to a constant: here the mean of f is 0. Halves stay in range.
  double mean = 0;
  for (Index i = 0; i < n; ++i) mean += a[i] / instance.mass * (answer.f[i] / 2);
  double beside = 0, dearest = 0;
  for (Index slot = 0; slot < n + m - 1; ++slot) {
    const Index i = answer.plan_row[slot];
    const Index j = answer.plan_col[slot];
    const double mass = answer.plan_mass[slot];
    if (!(mass > 0)) continue;
    row_error[i] -= mass;
    col_error[j] -= mass;
    dearest = std::max(dearest, std::abs(static_cast<double>(cost.row(i)[j])));
    if (supported[slot] != 0) continue;
    const auto half = static_cast<double>(cost.row(i)[j]) / 2 - answer.f[i] / 2 - answer.g[j] / 2;
    beside += std::abs(mass / instance.mass * half);
  }
  double error = 0;
  CompensatedSum missing;
  for (Index i = 0; i < n; ++i) {
    error += std::abs(row_error[i]);
    if (row_error[i] != 0) missing.add(row_error[i] / instance.mass * (answer.f[i] / 2 - mean));
  }
  for (Index j = 0; j < m; ++j) {
    error += std::abs(col_error[j]);
    if (col_error[j] != 0) missing.add(col_error[j] / instance.mass * (answer.g[j] / 2 + mean));
  }
  *answer.value = value_of(cost, answer, instance.mass);
  *answer.marginal_error = error / instance.mass;
  const int exponent = 1 - instance.exponent;
  return {0, std::ldexp(beside, exponent), std::ldexp(std::abs(missing.total()), exponent),
          dearest};
}

}  // namespace

Answer::Answer(const ExactResult& result, Index problem, Index n, Index m) noexcept
    : value(result.value + problem),
      f(result.f + problem * n),
      g(result.g + problem * m),
      plan_row(result.plan_row + problem * (n + m - 1)),
      plan_col(result.plan_col + problem * (n + m - 1)),
      plan_mass(result.plan_mass + problem * (n + m - 1)),
      marginal_error(result.marginal_error + problem) {}

template <class T>
bool write_duals(const Instance<T>& instance, Support& support, bool repair, const Cpu& exec,
                 const Answer& answer) {
  const Index n = instance.n();
  const Index m = instance.m();
  std::vector<double>& f = support.f;
  const std::vector<double>& g = support.g;
  if (repair) {
    const auto& kernels = reduced_cost_table().rows(T{});
    const bool complete = for_rows(instance, exec, [&](Index i, const T* row) {
      f[i] = kernels.least(row, instance.scale, instance.base, g.data(), m);
    });
    if (!complete) return false;
  }
  for (Index i = 0; i < n; ++i)
    answer.f[instance.rows[i]] = finite(std::ldexp(f[i] + instance.base, instance.exponent));
  for (Index j = 0; j < m; ++j)
    answer.g[instance.cols[j]] = finite(std::ldexp(g[j], instance.exponent));
  return complete_duals(instance, exec, answer);
}

template <class T>
bool holds_duals(const Instance<T>& instance, const Answer& answer) noexcept {
  constexpr double top = std::numeric_limits<double>::max();
  const auto above = [](const double* x, Index size) {
    return std::all_of(x, x + size, [](double value) { return value > -top; });
  };
  const auto below = [](const double* x, const std::vector<Node>& points) {
    return std::all_of(points.begin(), points.end(), [x](Node i) { return x[i] < top; });
  };
  return above(answer.f, instance.cost.rows) && above(answer.g, instance.cost.cols) &&
         below(answer.f, instance.rows) && below(answer.g, instance.cols);
}

template <class T>
Gap write_plan(const Instance<T>& instance, const MatrixView<T>& cost, const Support& support,
               const double* a, const double* b, const Answer& answer) {
  const Index n = cost.rows;
  const Index m = cost.cols;
  Shipment shipment(n, m, instance.cols[support.last_col], a, b, instance.b_scale, answer);

  // Points below the resolution of the working weights hang as leaves at their nearest point, in
  // the sense of the duals: first the rows, which may be near such a column.
  double due = 0;
  if (instance.m() < m || instance.n() < n) {
    const auto& kernels = reduced_cost_table().rows(T{});
    const std::vector<Node> row_position = positions(instance.rows, n);
    const std::vector<Node> col_position = positions(instance.cols, m);
    for (Index i = 0; i < n; ++i) {
      if (row_position[i] >= 0 || !shipment.row_left(i)) continue;
      const Index nearest = kernels.smallest(instance.cost.row(i), 1, 0, answer.g, m).index;
      shipment.ship(shipment.row_slot(i), i, nearest);
      due = std::max(due, std::abs(static_cast<double>(cost.row(i)[nearest])));
    }
    for (Index j = 0; j < m; ++j) {
      if (col_position[j] >= 0 || !shipment.col_left(j)) continue;
      Index nearest = instance.rows[0];
      for (const Node i : instance.rows) {
        const auto reduced = [&](Index k) {
          return static_cast<double>(instance.cost.row(k)[j]) - answer.f[k];
        };
        if (reduced(i) < reduced(nearest)) nearest = i;
      }
      shipment.ship(shipment.col_slot(j), nearest, j);
      due = std::max(due, std::abs(static_cast<double>(cost.row(nearest)[j])));
    }
  }
  std::vector<char> supported(static_cast<std::size_t>(n + m - 1), 0);
  const auto slot_of = [&](const Support::Cell& cell) {
    return cell.from_row ? shipment.row_slot(instance.rows[cell.arc.row])
                         : shipment.col_slot(instance.cols[cell.arc.col]);
  };
  for (const Support::Cell& cell : support.cells) {
    if (!cell.used) continue;
    shipment.ship(slot_of(cell), instance.rows[cell.arc.row], instance.cols[cell.arc.col]);
    supported[slot_of(cell)] = answer.plan_mass[slot_of(cell)] > 0;
  }
  shipment.ship_rest(cost);
  Gap gap = assess(instance, cost, a, b, supported, answer);

  CompensatedSum slack;
  for (const Support::Cell& cell : support.cells) {
    const auto& [row, col] = cell.arc;
    if (supported[slot_of(cell)] != 0)
      slack.add(answer.plan_mass[slot_of(cell)] / instance.mass *
                (instance(row, col) - support.f[row] - support.g[col]));
  }
  gap.slack = slack.total();
  gap.dearest = std::max(gap.dearest, due);
  return gap;
}

template <class T>
bool write_empty(const Instance<T>& instance, const Cpu& exec, const Answer& answer) {
  const Index n = instance.cost.rows;
  const Index m = instance.cost.cols;
  Shipment::clear(n, m, answer);
  *answer.value = 0;
  *answer.marginal_error = 0;
  std::fill_n(answer.g, m, 0.0);
  const auto& kernels = reduced_cost_table().rows(T{});
  for (Index i = 0; i < n; ++i) {
    answer.f[i] = kernels.least(instance.cost.row(i), 1, 0, answer.g, m);
    if (exec.stopped()) return false;
  }
  return true;
}

template bool write_duals<float>(const Instance<float>&, Support&, bool, const Cpu&, const Answer&);
template bool write_duals<double>(const Instance<double>&, Support&, bool, const Cpu&,
                                  const Answer&);
template bool holds_duals<float>(const Instance<float>&, const Answer&) noexcept;
template bool holds_duals<double>(const Instance<double>&, const Answer&) noexcept;
template Gap write_plan<float>(const Instance<float>&, const MatrixView<float>&, const Support&,
                               const double*, const double*, const Answer&);
template Gap write_plan<double>(const Instance<double>&, const MatrixView<double>&, const Support&,
                                const double*, const double*, const Answer&);
template bool write_empty<float>(const Instance<float>&, const Cpu&, const Answer&);
template bool write_empty<double>(const Instance<double>&, const Cpu&, const Answer&);

}  // namespace kantorch::cpu::network
