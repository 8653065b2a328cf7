// The spanning tree of the transportation simplex and its pivots, without a walk along the tree.
//
// Every node knows the set of its ancestors, itself included, as bits: so each lane says of its own nodes whether they
// lie on the cycle of an entering arc or in the subtree that moves. The tree is strongly feasible, and its arcs,
// potentials and leaving arcs are those of csrc/cpu/exact/tree.hpp.
#pragma once

#include "cuda/exact/instance.hpp"

namespace kantorch::cuda::network {

constexpr Node none = -1;

KANTORCH_BOTH constexpr Index word_count(Index nodes) { return (nodes + 31) / 32; }

KANTORCH_DEVICE int count_bits(unsigned word) {
#ifdef __CUDA_ARCH__
  return __popc(word);
#else
  return __builtin_popcount(word);
#endif
}

// Arrays of the nodes of a problem, on chip or not.
struct Tree {
  double* flow;  // on the arc to the parent, an integer
  double* high;  // potentials of 32 digits, f at rows and -g at columns
  double* low;
  double* spare;  // by depth, in a pivot; elsewhere whatever is needed
  Node* parent;
  Node* depth;    // 1 at the root, 0 at points that are not in the tree
  Node* path;     // like spare
  unsigned* tip;  // ancestors of one node
  unsigned*
      masks;  // word w of node v's ancestors at w * nodes + v, so that lanes side by side read side by side
  Node nodes;
  Node rows;
  Node root;

  template <class Memory>
  static KANTORCH_BOTH Tree in(Memory& memory, Index capacity) {
    Tree tree{};
    tree.flow = memory.template take<double>(capacity);
    tree.high = memory.template take<double>(capacity);
    tree.low = memory.template take<double>(capacity);
    tree.spare = memory.template take<double>(capacity + 1);
    tree.parent = memory.template take<Node>(capacity);
    tree.depth = memory.template take<Node>(capacity);
    tree.path = memory.template take<Node>(capacity + 1);
    tree.tip = memory.template take<unsigned>(word_count(capacity));
    tree.masks = memory.template take<unsigned>(word_count(capacity) * capacity);
    return tree;
  }
  static KANTORCH_BOTH constexpr Index bytes(Index capacity) {
    return 3 * shared_bytes<double>(capacity) + shared_bytes<double>(capacity + 1) +
           2 * shared_bytes<Node>(capacity) + shared_bytes<Node>(capacity + 1) +
           shared_bytes<unsigned>(word_count(capacity)) +
           shared_bytes<unsigned>(word_count(capacity) * capacity);
  }

  KANTORCH_DEVICE bool is_row(Node v) const { return v < rows; }
  KANTORCH_DEVICE bool holds(Node v) const { return depth[v] > 0; }
  KANTORCH_DEVICE Node row(Node v) const {
    return is_row(v) ? v : parent[v];
  }  // of the arc to the parent
  KANTORCH_DEVICE Node col(Node v) const { return (is_row(v) ? parent[v] : v) - rows; }
  KANTORCH_DEVICE unsigned& word(Node at, Node v) const {
    return masks[static_cast<Index>(at) * nodes + v];
  }
  // Whether u is an ancestor of v, or v.
  KANTORCH_DEVICE bool is_above(Node u, Node v) const {
    return ((word(u >> 5, v) >> (u & 31)) & 1u) != 0;
  }
};

// From parents to depths and ancestors.
template <class Team>
KANTORCH_DEVICE void find_ancestors(Team& team, const Tree& tree) {
  const Node words = static_cast<Node>(word_count(tree.nodes));
  for (Node v = team.rank(); v < tree.nodes; v += team.size()) {
    for (Node w = 0; w < words; ++w) tree.word(w, v) = 0;
    Node depth = 0;
    if (v == tree.root || tree.parent[v] != none) {
      for (Node u = v; u != none; u = tree.parent[u], ++depth)
        tree.word(u >> 5, v) |= 1u << (u & 31);
    }
    tree.depth[v] = depth;
  }
  team.sync();
}

// Potentials from the costs of the arcs, with 0 at the root; infinite, so that no arc can enter, at points that are not
// in the tree. Returns the largest size, 1 at least.
template <class Team, class Cost>
KANTORCH_DEVICE double find_potentials(Block<Team>& block, const Tree& tree, const Cost& cost) {
  Team& team = block.team;
  for (Node v = team.rank(); v < tree.nodes; v += team.size()) {
    if (!tree.holds(v) || v == tree.root) continue;
    const double step = cost(tree.row(v), tree.col(v));
    tree.spare[v] = tree.is_row(v) ? step : -step;
  }
  team.sync();
  double largest = 1;
  for (Node v = team.rank(); v < tree.nodes; v += team.size()) {
    Wide sum{};
    if (tree.holds(v)) {
      for (Node u = v; u != tree.root; u = tree.parent[u]) sum = sum.plus({tree.spare[u], 0});
      largest = fmax(largest, fabs(sum.high));
    } else {
      sum.high = tree.is_row(v) ? -unlimited : unlimited;
    }
    tree.high[v] = sum.high;
    tree.low[v] = sum.low;
  }
  largest = block.reduce(largest, Max{});
  team.sync();
  return largest;
}

// Brings the arc from row to column, two nodes, of the given reduced cost into the tree.
template <class Team>
KANTORCH_DEVICE void pivot(Block<Team>& block, const Tree& tree, Node row, Node col, Wide reduced) {
  Team& team = block.team;
  const Node nodes = tree.nodes;
  // Flow is pushed around the cycle from the apex down to the row, over the entering arc, and from the column up to the
  // apex. It falls on arcs to parents from rows on the first part and from columns on the second.
  const auto falls = [&](Node v) {
    const bool of_row = tree.is_above(v, row), of_col = tree.is_above(v, col);
    return of_row != of_col && of_row == tree.is_row(v);
  };
  std::uint64_t key = no_key;
  for (Node v = team.rank(); v < nodes; v += team.size())
    if (falls(v)) key = Min{}(key, bits_of(tree.flow[v]));
  const double flow = of_bits(block.least(key));
  // Of the blocking arcs the last from the apex on leaves.
  key = no_key;
  for (Node v = team.rank(); v < nodes; v += team.size()) {
    if (!falls(v) || tree.flow[v] != flow) continue;
    const Node depth = tree.depth[v];
    const auto place = static_cast<unsigned>(tree.is_row(v) ? 2 * nodes - depth : depth);
    key = Min{}(key, static_cast<std::uint64_t>(place) << 32 | static_cast<unsigned>(v));
  }
  const Node leaving = index_of(block.least(key));
  const bool row_side = tree.is_row(leaving);
  const Node tip = row_side ? row : col, target = row_side ? col : row;
  const Node first = tree.depth[leaving], last = tree.depth[tip];

  // The cycle's flows, and the way from the leaving node down to the tip, by depth.
  for (Node v = team.rank(); v < nodes; v += team.size()) {
    const bool of_row = tree.is_above(v, row), of_col = tree.is_above(v, col);
    if (of_row == of_col) continue;
    const double changed = tree.flow[v] + (of_row == tree.is_row(v) ? -flow : flow);
    tree.flow[v] = changed;
    if (of_row != row_side || tree.depth[v] < first) continue;
    tree.path[tree.depth[v]] = v;
    tree.spare[tree.depth[v]] = changed;
  }
  const Node words = static_cast<Node>(word_count(nodes));
  for (Node w = team.rank(); w < words; w += team.size()) tree.tip[w] = tree.word(w, tip);
  team.sync();

  // The way is turned: every node of it hangs below the one that was below it, the tip below the target.
  for (Node at = first + team.rank(); at <= last; at += team.size()) {
    const Node v = tree.path[at];
    tree.parent[v] = at == last ? target : tree.path[at + 1];
    tree.flow[v] = at == last ? flow : tree.spare[at + 1];
  }
  // A node of the moved subtree gets, of its ancestors there, those that it does not share with the tip, those of the
  // tip that it does not share, and the last that they share; and the target's.
  const Wide step = row_side ? reduced : -reduced;
  for (Node v = team.rank(); v < nodes; v += team.size()) {
    if (!tree.is_above(leaving, v)) continue;
    const Wide potential = Wide{tree.high[v], tree.low[v]}.plus(step);
    tree.high[v] = potential.high;
    tree.low[v] = potential.low;
    Node shared = 0, depth = 1;
    for (Node w = 0; w < words; ++w) {
      const unsigned own = tree.word(w, v), of_tip = tree.tip[w];
      const unsigned changed = tree.word(w, target) | (own ^ of_tip);
      shared += count_bits(own & of_tip);
      depth += count_bits(changed);
      tree.word(w, v) = changed;
    }
    const Node fork = tree.path[shared];
    tree.word(fork >> 5, v) |= 1u << (fork & 31);
    tree.depth[v] = depth;
  }
  team.sync();
}

}  // namespace kantorch::cuda::network
