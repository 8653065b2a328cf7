// The spanning tree of the transportation simplex and its pivots.
#pragma once

#include <cstdint>
#include <vector>

#include "core/view.hpp"

namespace kantorch::cpu::network {

using Node = std::int32_t;

struct Arc {
  Node row;
  Node col;
};

// Nodes are the rows 0..n-1, then the columns n..n+m-1. Every arc leads from a row to a column, so
// that the arc between v and its parent leads up if v is a row and down if it is a column.
//
// Potentials are one-signed: pi = f at rows, -g at columns. A pivot then adds one number to a whole
// subtree, or takes it from the rest, whichever is smaller; `shift` is what was so added to all.
//
// The tree is strongly feasible (Cunningham, 1976): an arc without flow leads towards the root.
// This is what a supply of epsilon more at every row, and a demand of n epsilon more at the root,
// would bring about, and with the leaving arc chosen as the last blocking one from the apex on it
// stays so. No basis comes back, so pivoting ends, if every entering arc has a negative reduced
// cost.
class Tree {
 public:
  // Makes the tree of the arcs, n + m - 1 of them, with `flow` on each. Throws bad_alloc.
  void build(Index n, Index m, Node root, const std::vector<Arc>& arcs,
             const std::vector<double>& flow);

  // Brings the arc, of the given reduced cost, into the tree.
  void pivot(Arc arc, double reduced_cost) noexcept;

  // Potentials from the costs of the tree's arcs, each rounded once, and that of the root.
  template <class Cost>
  void recompute(const Cost& cost, double root_potential) noexcept;

  Index rows() const noexcept { return n_; }
  Index size() const noexcept { return static_cast<Index>(nodes_.size()); }
  Node root() const noexcept { return root_; }
  Node parent(Node v) const noexcept { return nodes_[v].parent; }
  Node next(Node v) const noexcept { return next_[v]; }  // in preorder, cyclic
  Node previous(Node v) const noexcept { return previous_[v]; }
  double flow(Node v) const noexcept { return nodes_[v].flow; }
  bool is_row(Node v) const noexcept { return v < n_; }
  Node column(Index j) const noexcept { return static_cast<Node>(n_ + j); }

  // The arc between v, which is not the root, and its parent.
  Arc arc(Node v) const noexcept {
    const Node p = parent(v);
    return is_row(v) ? Arc{v, static_cast<Node>(p - n_)} : Arc{p, static_cast<Node>(v - n_)};
  }

  std::vector<double> pi;
  double shift = 0;

 private:
  // What a walk up the tree needs, apart from what a walk along the preorder needs: both are bound
  // by the latency of the cache, so each shall use little of it.
  struct Climb {
    double flow;  // on the arc to the parent, an integer
    Node parent;
    Node size;  // of the subtree
  };

  void move(Node leaving, Node tip, Node target, double flow) noexcept;
  void add(Node first, Node last, Node count, double step) noexcept;
  void link(Node v, Node w) noexcept {
    next_[v] = w;
    previous_[w] = v;
  }

  Index n_ = 0;
  Node root_ = 0;
  std::vector<Climb> nodes_;
  std::vector<Node> next_;
  std::vector<Node> previous_;
  std::vector<Node> last_;   // of the subtree, in preorder
  std::vector<double> low_;  // low parts of the potentials, in `recompute`
};

template <class Cost>
void Tree::recompute(const Cost& cost, double root_potential) noexcept {
  // In double-double arithmetic (Knuth's two-sum), because paths may be long.
  pi[root_] = root_potential;
  low_[root_] = 0;
  for (Node v = next(root_); v != root_; v = next(v)) {
    const Node p = parent(v);
    const Arc a = arc(v);
    const double step = is_row(v) ? cost(a.row, a.col) : -cost(a.row, a.col);
    const double sum = pi[p] + step;
    const double back = sum - pi[p];
    const double low = ((pi[p] - (sum - back)) + (step - back)) + low_[p];
    pi[v] = sum + low;
    low_[v] = low - (pi[v] - sum);
  }
  shift = 0;
}

}  // namespace kantorch::cpu::network
