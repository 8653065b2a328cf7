// From a tree to the answer: duals of all points, the plan, and what both are measured by; see csrc/cpu/exact/plan.hpp.
#pragma once

#include "common/exact_rules.hpp"
#include "cuda/exact/tree.hpp"

namespace kantorch::cuda::network {

constexpr double largest_double = std::numeric_limits<double>::max();

// Where the answer of one problem goes.
struct Answer {
  double* f;
  double* g;
  std::int64_t* plan_row;
  std::int64_t* plan_col;
  double* plan_mass;

  KANTORCH_DEVICE Answer(const ExactResult& result, Index k, Index n, Index m)
      : f(result.f + k * n),
        g(result.g + k * m),
        plan_row(result.plan_row + k * (n + m - 1)),
        plan_col(result.plan_col + k * (n + m - 1)),
        plan_mass(result.plan_mass + k * (n + m - 1)) {}
};

// The costs that a plan pays, in the unit of the cost, apart from those of points of hardly any mass.
struct Paid {
  double low;
  double high;
  double
      in_tree;  // the highest of cells of the tree: others are measured by what they add to the gap

  // The scale of the answer.
  KANTORCH_DEVICE double scale() const { return fmax(fabs(low), fabs(high)); }
};

// What separates a plan from its duals, in working units and for a mass of 1.
struct Gap {
  double beside;   // sum P (c - f - g) over the cells that are not the tree's
  double missing;  // what the mass that is not shipped is worth to the duals
  double dearest;  // of all costs that are paid, or due to points of hardly any mass; not negative
};

template <class Team, class T>
class Plan {
 public:
  KANTORCH_DEVICE Plan(Block<Team>& block, const Instance<T>& instance, const Tree& tree,
                       const Answer& answer)
      : block_(block),
        team_(block.team),
        instance_(instance),
        tree_(tree),
        answer_(answer),
        n_(instance.n),
        m_(instance.m),
        slots_(instance.nodes() - 1),
        left_(tree.spare) {}

  double value = 0;
  double marginal_error = 0;

  // The duals of all points, from wide potentials: those that are not in the tree get the largest that are feasible for
  // the capped costs, so that cells which nobody pays make none of them huge. With `repair`, which unfinished work needs,
  // f is lowered to what g allows.
  KANTORCH_DEVICE void write_duals(bool repair) {
    bool complete = true;
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
      complete &= tree_.holds(v);
      if (!tree_.holds(v)) continue;
      const double x = finite(ldexp(tree_.high[v], instance_.exponent));
      if (tree_.is_row(v)) {
        answer_.f[v] = x;
      } else {
        answer_.g[v - n_] = -x;
      }
    }
    complete = !block_.reduce.any(!complete);
    team_.sync();
    if (repair) {
      for (Node i = team_.warp(); i < n_; i += team_.warps()) {
        if (!tree_.holds(i)) continue;
        double f = unlimited;
        for (Node j = team_.lane(); j < m_; j += warp_size)
          if (tree_.holds(n_ + j)) f = fmin(f, instance_.unrounded(i, j) + tree_.high[n_ + j]);
        f = reduce_lanes(team_, f, Min{});
        if (team_.lane() == 0) answer_.f[i] = finite(ldexp(f, instance_.exponent));
      }
      team_.sync();
    }
    if (complete) return;
    for (Node j = team_.rank(); j < m_; j += team_.size()) {
      if (tree_.holds(n_ + j)) continue;
      double g = unlimited;
      for (Node i = 0; i < n_; ++i)
        if (tree_.holds(i)) g = fmin(g, instance_.capped(i, j) - answer_.f[i]);
      answer_.g[j] = finite(g);
    }
    team_.sync();
    for (Node i = team_.warp(); i < n_; i += team_.warps()) {
      if (tree_.holds(i)) continue;
      double f = unlimited;
      for (Node j = team_.lane(); j < m_; j += warp_size)
        f = fmin(f, instance_.capped(i, j) - answer_.g[j]);
      f = reduce_lanes(team_, f, Min{});
      if (team_.lane() == 0) answer_.f[i] = finite(f);
    }
    team_.sync();
  }

  // Whether no dual was cut at the end of the range, which would make it infeasible or, at a working point, not optimal.
  KANTORCH_DEVICE bool holds_duals() {
    bool cut = false;
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
      const double x = tree_.is_row(v) ? answer_.f[v] : answer_.g[v - n_];
      cut |= !(x > -largest_double) || (tree_.holds(v) && !(x < largest_double));
    }
    return !block_.reduce.any(cut);
  }

  // The plan on the tree for the given weights, which working weights only approximate. No point gives or gets more than
  // its mass. Points of hardly any mass hang at their nearest point in the sense of the duals, if those are known.
  KANTORCH_DEVICE void write(bool duals_are_known) {
    due_ = 0;
    bool tiny = false;
    for (Index slot = team_.rank(); slot < slots_; slot += team_.size()) {
      answer_.plan_row[slot] = answer_.plan_col[slot] = 0;
      answer_.plan_mass[slot] = 0;
    }
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
      left_[v] = instance_.weight(v);
      tiny |= !tree_.holds(v) && left_[v] > 0;
    }
    tiny = block_.reduce.any(tiny);
    team_.sync();
    if (tiny && duals_are_known) ship_tiny();
    sort_by_depth();
    team_.sync();
    if (team_.rank() == 0) {
      for (Node at = 0; at < tree_.nodes; ++at) {
        const Node v = tree_.path[at];
        if (v != none && tree_.flow[v] > 0) ship(slot_of(v), tree_.row(v), tree_.col(v));
      }
      ship_rest();
    }
    team_.sync();
  }

  KANTORCH_DEVICE Paid paid() {
    double low = unlimited, high = -unlimited, in_tree = -unlimited;
    for (Index slot = team_.rank(); slot < slots_; slot += team_.size()) {
      if (!(answer_.plan_mass[slot] > instance_.mass * negligible_share)) continue;
      low = fmin(low, cost_of(slot));
      high = fmax(high, cost_of(slot));
      if (is_in_tree(slot)) in_tree = fmax(in_tree, cost_of(slot));
    }
    low = block_.reduce(low, Min{});
    high = block_.reduce(high, Max{});
    return {low, high, block_.reduce(in_tree, Max{})};
  }

  // At most what `paid().high` is going to be.
  KANTORCH_DEVICE double paid_at_least() {
    double high = -unlimited;
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size())
      if (tree_.holds(v) && v != tree_.root && tree_.flow[v] > instance_.rounding)
        high = fmax(high, instance_.given(tree_.row(v), tree_.col(v)));
    return block_.reduce(high, Max{});
  }

  // Value, marginal error and gap of the plan as it is written.
  KANTORCH_DEVICE Gap assess() {
    // Potentials matter up to a constant: here the mean of f is 0. Halves stay in range.
    double mean = 0, error = 0, beside = 0, dearest = 0;
    for (Node i = team_.rank(); i < n_; i += team_.size())
      mean += instance_.weight(i) / instance_.mass * (answer_.f[i] / 2);
    mean = block_.reduce(mean, Sum{});
    Wide missing{};
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
      error += fabs(left_[v]);
      const double half = tree_.is_row(v) ? answer_.f[v] / 2 - mean : answer_.g[v - n_] / 2 + mean;
      if (left_[v] != 0) missing = missing.plus({left_[v] / instance_.mass * half, 0});
    }
    for (Index slot = team_.rank(); slot < slots_; slot += team_.size()) {
      const double mass = answer_.plan_mass[slot];
      if (!(mass > 0)) continue;
      const Node i = row_of(slot), j = col_of(slot);
      dearest = fmax(dearest, fabs(instance_.given(i, j)));
      if (is_in_tree(slot)) continue;
      const double half = instance_.given(i, j) / 2 - answer_.f[i] / 2 - answer_.g[j] / 2;
      beside += fabs(mass / instance_.mass * half);
    }
    error = block_.reduce(error, Sum{});
    beside = block_.reduce(beside, Sum{});
    dearest = block_.reduce(dearest, Max{});
    marginal_error = error / instance_.mass;
    value = value_of(dearest);
    const int exponent = 1 - instance_.exponent;
    return {ldexp(beside, exponent), ldexp(fabs(block_.total(missing)), exponent),
            fmax(dearest, due_)};
  }

 private:
  KANTORCH_DEVICE static double finite(double x) {
    return fmin(fmax(x, -largest_double), largest_double);
  }
  KANTORCH_DEVICE Node row_of(Index slot) const {
    return static_cast<Node>(answer_.plan_row[slot]);
  }
  KANTORCH_DEVICE Node col_of(Index slot) const {
    return static_cast<Node>(answer_.plan_col[slot]);
  }
  KANTORCH_DEVICE double cost_of(Index slot) const {
    return instance_.given(row_of(slot), col_of(slot));
  }

  // Every point but the root has a slot of its own: a cell of the tree is in the slot of the point that it leads up from.
  KANTORCH_DEVICE Index slot_of(Node v) const { return v - (v > tree_.root ? 1 : 0); }
  KANTORCH_DEVICE bool is_in_tree(Index slot) const {
    const Node v = static_cast<Node>(slot) + (slot >= tree_.root ? 1 : 0);
    return tree_.holds(v) && row_of(slot) == tree_.row(v) && col_of(slot) == tree_.col(v);
  }
  KANTORCH_DEVICE bool is_at(Index slot, Node i, Node j) const {
    return answer_.plan_mass[slot] > 0 && row_of(slot) == i && col_of(slot) == j;
  }

  // What one lane does: ships as much as both points of the cell still have.
  KANTORCH_DEVICE void ship(Index slot, Node i, Node j) {
    const double amount = fmin(left_[i], left_[n_ + j]);
    if (!(amount > 0)) return;
    answer_.plan_row[slot] = i;
    answer_.plan_col[slot] = j;
    answer_.plan_mass[slot] += amount;
    left_[i] -= amount;
    left_[n_ + j] -= amount;
  }

  // First the rows, which may be near such a column.
  KANTORCH_DEVICE void ship_tiny() {
    for (Node v = 0; v < tree_.nodes; ++v) {
      const bool is_tiny = !tree_.holds(v) && left_[v] > 0;
      team_.sync();  // until all have looked, it stays what it is
      if (!is_tiny) continue;
      double least = unlimited;
      Node nearest = none;
      const bool of_row = tree_.is_row(v);
      for (Node k = team_.rank(); k < (of_row ? m_ : n_); k += team_.size()) {
        if (!of_row && !tree_.holds(k)) continue;
        const double reduced = of_row ? instance_.given(v, k) - answer_.g[k]
                                      : instance_.given(k, v - n_) - answer_.f[k];
        if (nearest != none && !(reduced < least)) continue;
        least = reduced;
        nearest = k;
      }
      const double low = block_.reduce(nearest == none ? unlimited : least, Min{});
      const bool found = nearest != none && least == low;
      const std::uint64_t key = block_.least(found ? static_cast<unsigned>(nearest) : no_key);
      nearest = key == no_key ? 0 : index_of(key);
      if (team_.rank() == 0) ship(slot_of(v), of_row ? v : nearest, of_row ? nearest : v - n_);
      due_ =
          fmax(due_, fabs(of_row ? instance_.given(v, nearest) : instance_.given(nearest, v - n_)));
      team_.sync();
    }
  }

  // Into `path`: the points with an arc, each before its parent; none elsewhere.
  KANTORCH_DEVICE void sort_by_depth() {
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
      const Node depth = tree_.depth[v];
      Node before = 0;
      for (Node u = 0; u < tree_.nodes; ++u)
        before += tree_.depth[u] > depth || (tree_.depth[u] == depth && u < v) ? 1 : 0;
      tree_.path[before] = depth > 1 ? v : none;
    }
  }

  // What one lane does: brings what rounding has left at rows to where it is missing at columns. There are slots for it:
  // a point keeps something only if its slot is empty or the point it ships to or from has nothing left, and then that
  // one's slot is empty. Cells dearer than any so far stay empty, since their cost may be out of all proportion: what
  // remains is a marginal error at rounding level.
  KANTORCH_DEVICE void ship_rest() {
    bool is_left = false;
    for (Node i = 0; i < n_; ++i) is_left |= left_[i] > 0;
    if (!is_left) return;
    double dearest = -unlimited;
    for (Index slot = 0; slot < slots_; ++slot)
      if (answer_.plan_mass[slot] > 0) dearest = fmax(dearest, cost_of(slot));
    Node first = 0;
    Index free = 0;
    for (Node i = 0; i < n_; ++i) {
      if (!(left_[i] > 0)) continue;
      while (first < m_ && !(left_[n_ + first] > 0)) ++first;
      if (first == m_) return;
      for (Node j = first; j < m_ && left_[i] > 0; ++j) {
        if (!(left_[n_ + j] > 0) || instance_.given(i, j) > dearest) continue;
        Index slot = slot_of(i);
        if (!is_at(slot, i, j)) slot = n_ + j == tree_.root ? -1 : slot_of(n_ + j);
        if (slot < 0 || !is_at(slot, i, j)) {
          while (free < slots_ && answer_.plan_mass[free] > 0) ++free;
          if (free == slots_) return;
          slot = free;
        }
        ship(slot, i, j);
      }
    }
  }

  // The exponent of a power of two that brings x to about 1, or as near to it as a double can.
  KANTORCH_DEVICE static int unit_exponent(double x) {
    int exponent = 0;
    frexp(x, &exponent);
    return exponent < -1000 ? 1000 : exponent > 1000 ? -1000 : -exponent;
  }

  // <P, C>, in range between the products too.
  KANTORCH_DEVICE double value_of(double dearest) {
    const int cost_exponent = unit_exponent(dearest), mass_exponent = unit_exponent(instance_.mass);
    const double cost_unit = ldexp(1.0, cost_exponent), mass_unit = ldexp(1.0, mass_exponent);
    Wide sum{};
    for (Index slot = team_.rank(); slot < slots_; slot += team_.size())
      if (answer_.plan_mass[slot] > 0)
        sum = sum.plus({(answer_.plan_mass[slot] * mass_unit) * (cost_of(slot) * cost_unit), 0});
    return ldexp(block_.total(sum), -cost_exponent - mass_exponent);
  }

  Block<Team>& block_;
  Team& team_;
  const Instance<T>& instance_;
  const Tree& tree_;
  const Answer& answer_;
  const Node n_;
  const Node m_;
  const Index slots_;
  double* const left_;  // of every point's mass
  double due_ = 0;
};

}  // namespace kantorch::cuda::network
