// The first basis: a tree of cheap cells, measured against feasible potentials.
#pragma once

#include "cuda/exact/tree.hpp"

namespace kantorch::cuda::network {

template <class Team, class T>
class Basis {
 public:
  // In the beginning `tree.spare` holds the working weights.
  KANTORCH_DEVICE Basis(Block<Team>& block, const Instance<T>& instance, const Tree& tree)
      : block_(block), team_(block.team), instance_(instance), tree_(tree) {
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size())
      tree_.parent[v] = tree_.spare[v] > 0 ? none : outside;
    team_.sync();
  }

  // From g of the cost's columns, in its unit, if they are given.
  KANTORCH_DEVICE void start_potentials(const double* g_init) {
    const Node n = instance_.n, m = instance_.m;
    double top = -unlimited;
    for (Node j = team_.rank(); j < m; j += team_.size()) {
      const double g = g_init == nullptr ? 0 : ldexp(g_init[j], -instance_.exponent);
      tree_.high[n + j] = is_open(n + j) && std::isfinite(g) ? g : -unlimited;
      top = fmax(top, tree_.high[n + j]);
    }
    top = block_.reduce(top, Max{});
    for (Node j = team_.rank(); j < m; j += team_.size())
      tree_.high[n + j] = std::isfinite(top) ? fmax(tree_.high[n + j] - top, -4.0) : 0;
    team_.sync();
    // Transforms both ways bring any g to potentials that are feasible and of the size of the costs.
    for (Node i = team_.warp(); i < n; i += team_.warps()) {
      double f = unlimited;
      for (Node j = team_.lane(); j < m; j += warp_size)
        if (is_open(n + j)) f = fmin(f, instance_.working(i, j) - tree_.high[n + j]);
      f = reduce_lanes(team_, f, Min{});
      if (team_.lane() == 0) tree_.high[i] = f;
    }
    team_.sync();
    for (Node j = team_.rank(); j < m; j += team_.size()) {
      double g = unlimited;
      for (Node i = 0; i < n; ++i)
        if (is_open(i)) g = fmin(g, instance_.working(i, j) - tree_.high[i]);
      tree_.high[n + j] = -g;
    }
    team_.sync();
  }

  // Fills root, parents and flows. With potentials that are `optimal`, or nearly, the cells of a cheapest spanning tree
  // come first.
  KANTORCH_DEVICE void build(Tree& tree, bool optimal) {
    tree.root = tree_.root = find_root();
    // Every row has epsilon more to give, the root n epsilon more to get: no part of the rows then has just the weight
    // of a part of the columns, and each cell that is used exhausts one of its points, the last one both.
    double supplies = 0, points = 0;
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
      tree_.flow[v] = 0;
      tree_.depth[v] = is_open(v) && tree_.is_row(v) ? 1 : 0;
      supplies += tree_.depth[v];
      points += is_open(v) ? 1 : 0;
    }
    supplies = block_.reduce(supplies, Sum{});
    points = block_.reduce(points, Sum{});
    team_.sync();
    if (team_.rank() == 0) epsilons(tree_.root) = static_cast<Node>(supplies);
    team_.sync();
    if (optimal) use_cheapest_tree(static_cast<Node>(points));
    fill_cheapest_first(static_cast<Node>(points));
    if (team_.rank() == 0) hang_below_root();
    team_.sync();
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size())
      if (tree_.parent[v] == outside) tree_.parent[v] = none;
    team_.sync();
  }

 private:
  static constexpr Node outside = -2;

  KANTORCH_DEVICE bool is_open(Node v) const { return tree_.parent[v] == none; }
  KANTORCH_DEVICE double& left(Node v) const { return tree_.spare[v]; }
  KANTORCH_DEVICE Node& epsilons(Node v) const { return tree_.depth[v]; }
  KANTORCH_DEVICE double reduced(Node row, Node col) const {
    return instance_.working(row, col - tree_.rows) - tree_.high[row] + tree_.high[col];
  }

  // The first column of the largest weight.
  KANTORCH_DEVICE Node find_root() {
    double top = 0;
    for (Node v = tree_.rows + team_.rank(); v < tree_.nodes; v += team_.size())
      top = fmax(top, left(v));
    top = block_.reduce(top, Max{});
    std::uint64_t key = no_key;
    for (Node v = tree_.rows + team_.rank(); v < tree_.nodes; v += team_.size())
      if (left(v) == top) key = Min{}(key, static_cast<std::uint64_t>(v));
    return index_of(block_.least(key));
  }

  // What one lane does: ships as much as both points, which are open, still have. The one that is exhausted hangs below
  // the other.
  KANTORCH_DEVICE void use(Node row, Node col) {
    const double of_row = left(row), of_col = left(col);
    const Node row_epsilons = epsilons(row), col_epsilons = epsilons(col);
    const bool row_ends = of_row < of_col || (of_row == of_col && row_epsilons <= col_epsilons);
    const Node ends = row_ends ? row : col, stays = row_ends ? col : row;
    tree_.parent[ends] = stays;
    tree_.flow[ends] = left(ends);
    left(stays) -= left(ends);
    epsilons(stays) -= epsilons(ends);
  }

  // What one lane does: turns the way from the root up to the column that was exhausted last.
  KANTORCH_DEVICE void hang_below_root() {
    Node below = none;
    double flow = 0;
    for (Node v = tree_.root; v != none;) {
      const Node above = tree_.parent[v];
      const double of_above = tree_.flow[v];
      tree_.parent[v] = below;
      tree_.flow[v] = flow;
      below = v;
      flow = of_above;
      v = above;
    }
  }

  // A spanning tree of the least reduced costs (Prim), used from its leaves on. Of optimal potentials that is the
  // optimal plan.
  KANTORCH_DEVICE void use_cheapest_tree(Node points) {
    unsigned* const order = tree_.masks;  // of which a node has one at least
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size())
      tree_.low[v] = is_open(v) && v != tree_.root ? unlimited : -unlimited;
    Node newest = tree_.root;
    for (Node step = 1; step < points; ++step) {
      std::uint64_t key = no_key;
      for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) {
        if (tree_.low[v] == -unlimited) continue;  // there is no way to it, or it is in the tree
        if (tree_.is_row(v) != tree_.is_row(newest)) {
          const double value = tree_.is_row(v) ? reduced(v, newest) : reduced(newest, v);
          if (value < tree_.low[v]) {
            tree_.low[v] = value;
            tree_.path[v] = newest;
          }
        }
        if (tree_.low[v] < unlimited) key = Min{}(key, key_of(tree_.low[v], v));
      }
      newest = index_of(block_.least(key));
      if (newest % team_.size() == team_.rank()) {
        tree_.low[newest] = -unlimited;
        order[step] = static_cast<unsigned>(newest);
      }
    }
    team_.sync();
    if (team_.rank() == 0) {
      for (Node step = points - 1; step > 0; --step) {
        const Node v = static_cast<Node>(order[step]), u = tree_.path[v];
        if (is_open(u) && is_open(v)) use(tree_.is_row(v) ? v : u, tree_.is_row(v) ? u : v);
      }
    }
    team_.sync();
  }

  // The cheapest open column of a row, as a key of its value, by a warp.
  KANTORCH_DEVICE std::uint64_t cheapest(Node row, Node first, Node step) const {
    std::uint64_t key = no_key;
    for (Node v = tree_.rows + first; v < tree_.nodes; v += step)
      if (is_open(v)) key = Min{}(key, key_of(reduced(row, v), v));
    return key;
  }
  KANTORCH_DEVICE void set_cheapest(Node row, std::uint64_t key) const {
    tree_.low[row] = of_bits(key);
    tree_.path[row] = index_of(key);
  }

  // The matrix minimum method: of all cells whose row and column are open, always the cheapest. Columns are shut
  // meanwhile, so a row's cell may be out of date; but the row has none cheaper.
  KANTORCH_DEVICE void fill_cheapest_first(Node points) {
    double used = 0;
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) used += tree_.parent[v] >= 0;
    used = block_.reduce(used, Sum{});
    for (Node i = team_.warp(); i < tree_.rows; i += team_.warps()) {
      if (!is_open(i)) continue;
      const std::uint64_t key = block_.least_of_warp(cheapest(i, team_.lane(), warp_size));
      if (team_.lane() == 0) set_cheapest(i, key);
    }
    team_.sync();
    for (Node to_use = points - 1 - static_cast<Node>(used); to_use > 0;) {
      std::uint64_t key = no_key;
      for (Node i = team_.rank(); i < tree_.rows; i += team_.size())
        if (is_open(i))
          key = Min{}(key, bits_of(tree_.low[i]) >> 32 << 32 | static_cast<unsigned>(i));
      const Node row = index_of(block_.least(key)), col = tree_.path[row];
      const bool fresh = is_open(col);
      team_.sync();
      if (fresh) {
        --to_use;
        if (team_.rank() == 0) use(row, col);
        team_.sync();
        if (to_use == 0 || !is_open(row)) continue;  // after the last one parents change at once
      }
      key = block_.least(cheapest(row, team_.rank(), team_.size()));
      if (team_.rank() == 0) set_cheapest(row, key);
      team_.sync();
    }
  }

  Block<Team>& block_;
  Team& team_;
  const Instance<T>& instance_;
  Tree tree_;
};

}  // namespace kantorch::cuda::network
