// Which arcs enter the tree, until none would make the plan cheaper.
#pragma once

#include "cuda/exact/tree.hpp"

namespace kantorch::cuda::network {

enum class Stop { optimal, max_iterations };

// An arc, written by the lane that found it.
struct Entering {
  Node row;
  Node col;  // a node
  double high;
  double low;
};

// Every lane keeps the best arc that it met in a search of some rows. The best of those enters, then the best of what is
// left, until none has a negative reduced cost: so most pivots search a cell a lane.
template <class Team, class T>
class Simplex {
 public:
  KANTORCH_DEVICE Simplex(Block<Team>& block, const Instance<T>& instance, const Tree& tree,
                          Entering* entering, Index most_pivots)
      : block_(block),
        team_(block.team),
        instance_(instance),
        tree_(tree),
        entering_(entering),
        most_pivots_(most_pivots) {
    while (width_ < warp_size && width_ < tree.nodes - tree.rows) width_ *= 2;
    const Node a_pass = team_.warps() * (warp_size / width_);
    const Node cols = tree.nodes - tree.rows;
    rows_ = searched_cells * team_.size() / cols;
    rows_ = (rows_ < 1 ? 1 : rows_ + a_pass - 1) / a_pass * a_pass;
    if (rows_ < a_pass) rows_ = a_pass;
  }

  Index pivots = 0;

  // In double: to some multiple of its rounding, for which `prove` does what is left.
  KANTORCH_DEVICE Stop approach() {
    candidate_ = {none, none};
    for (;;) {
      const auto cost = [&](Node i, Node j) { return instance_.working(i, j); };
      const double least = -drift * find_potentials(block_, tree_, cost);
      for (Node fresh = tree_.nodes; fresh > 0; --fresh) {
        if (!find<false>(least)) return Stop::optimal;
        if (pivots == most_pivots_) return Stop::max_iterations;
        enter();
      }
    }
  }

  // To 32 digits, from costs that no subtraction has rounded: optimal if no reduced cost is negative beyond `rounding`,
  // with potentials that are fresh from the tree.
  KANTORCH_DEVICE Stop prove() {
    candidate_ = {none, none};
    for (;;) {
      find_wide_potentials();
      if (!find<true>(-rounding)) return Stop::optimal;
      for (Node fresh = tree_.nodes; fresh > 0; --fresh) {
        if (pivots == most_pivots_) return Stop::max_iterations;
        enter();
        if (!find<true>(-2 * rounding)) break;
      }
    }
  }

  KANTORCH_DEVICE void find_wide_potentials() {
    const auto cost = [&](Node i, Node j) { return instance_.unrounded(i, j); };
    const double largest = find_potentials(block_, tree_, cost);
    // Of paths of so many arcs; costs may also be lost below the range.
    rounding = static_cast<double>(tree_.nodes) * (0x1p-102 * largest + lost);
  }

  // The reduced cost of a cell of points in the tree, rounded once.
  KANTORCH_DEVICE double wide_reduced(Node row, Node col) const {
    const Wide less = Wide::sum(instance_.unrounded(row, col - tree_.rows), -tree_.high[row]);
    const Wide rest = Wide::sum(less.high, tree_.high[col]);
    return rest.high + (rest.low + (less.low - (tree_.low[row] - tree_.low[col])));
  }

  double rounding = 0;

 private:
  struct Arc {
    Node row;
    Node col;
  };
  // Potentials drift by a rounding error a pivot until they are found anew, after as many pivots as there are nodes.
  static constexpr double drift = 0x1p-37;
  static constexpr Node searched_cells = 32;  // a lane, about

  template <bool wide>
  KANTORCH_DEVICE double reduced(Node row, Node col) const {
    if constexpr (wide) return wide_reduced(row, col);
    return instance_.working(row, col - tree_.rows) - tree_.high[row] + tree_.high[col];
  }

  // Publishes the best of the lanes' candidates if there is one.
  template <bool wide>
  KANTORCH_DEVICE bool choose(double value) {
    const bool has = candidate_.row != none;
    const std::uint64_t key = block_.least(has ? key_of(value, team_.rank()) : no_key);
    if (key == no_key) return false;
    if (index_of(key) == team_.rank()) {
      const Node row = candidate_.row, col = candidate_.col;
      Wide left{value, 0};
      if constexpr (wide) {
        left = Wide{instance_.unrounded(row, col - tree_.rows), 0}
                   .plus({-tree_.high[row], -tree_.low[row]})
                   .plus({tree_.high[col], tree_.low[col]});
      }
      *entering_ = {row, col, left.high, left.low};
      candidate_ = {none, none};
    }
    team_.sync();
    return true;
  }

  // Publishes an arc whose reduced cost is below `least`, which is negative; false if there is none.
  template <bool wide>
  KANTORCH_DEVICE bool find(double least) {
    double value = 0;
    if (candidate_.row != none) {
      value = reduced<wide>(candidate_.row, candidate_.col);
      if (!(value < least)) candidate_ = {none, none};
    }
    if (choose<wide>(value)) return true;
    const Node n = tree_.rows, lane_row = team_.lane() / width_, lane_col = team_.lane() % width_;
    const Node below = team_.warps() * (warp_size / width_);
    for (Node seen = 0; seen < n; seen += rows_) {
      value = least;
      for (Node at = team_.warp() * (warp_size / width_) + lane_row; at < rows_; at += below) {
        if (seen + at >= n) break;
        const Node row = place_ + at < n ? place_ + at : place_ + at - n;
        if (!tree_.holds(row)) continue;
        for (Node col = n + lane_col; col < tree_.nodes; col += width_) {
          if (wide && !tree_.holds(col)) continue;
          const double cell = reduced<wide>(row, col);
          if (!(cell < value)) continue;
          value = cell;
          candidate_ = {row, col};
        }
      }
      place_ += rows_ < n ? rows_ : n;
      if (place_ >= n) place_ -= n;
      if (choose<wide>(value)) return true;
    }
    return false;
  }

  KANTORCH_DEVICE void enter() {
    const Entering arc = *entering_;
    pivot(block_, tree_, arc.row, arc.col, {arc.high, arc.low});
    ++pivots;
  }

  Block<Team>& block_;
  Team& team_;
  const Instance<T>& instance_;
  const Tree tree_;
  Entering* const entering_;
  const Index most_pivots_;
  Node width_ = 1;  // columns that lie side by side in a warp
  Node rows_;       // of a search
  Node place_ = 0;
  Arc candidate_{none, none};
};

}  // namespace kantorch::cuda::network
