#include "cpu/exact/tree.hpp"

#include <limits>
#include <utility>

namespace kantorch::cpu::network {

void Tree::build(Index n, Index m, Node root, const std::vector<Arc>& arcs,
                 const std::vector<double>& flow) {
  const std::size_t count = static_cast<std::size_t>(n + m);
  n_ = n;
  root_ = root;
  nodes_.resize(count);
  next_.resize(count);
  previous_.resize(count);
  last_.resize(count);
  pi.resize(count);
  low_.resize(count);
  shift = 0;

  // Incident arcs of every node as linked lists of half arcs: 2 k at the row of arc k, 2 k + 1 at
  // its column.
  constexpr Node none = -1;
  std::vector<Node> first(count, none);
  std::vector<Node> following(2 * arcs.size());
  for (std::size_t k = 0; k < arcs.size(); ++k) {
    const Node ends[2] = {arcs[k].row, column(arcs[k].col)};
    for (std::size_t side = 0; side < 2; ++side) {
      following[2 * k + side] = first[ends[side]];
      first[ends[side]] = static_cast<Node>(2 * k + side);
    }
  }

  // Preorder by depth-first search; `first` becomes what is left to visit.
  nodes_[root] = {0, none, 1};
  Node latest = root;
  Node v = root;
  for (;;) {
    const Node half = first[v];
    if (half == none) {
      last_[v] = latest;
      const Node p = nodes_[v].parent;
      if (p == none) break;
      nodes_[p].size += nodes_[v].size;
      v = p;
      continue;
    }
    first[v] = following[half];
    const std::size_t k = static_cast<std::size_t>(half / 2);
    const Node w = half % 2 == 0 ? column(arcs[k].col) : arcs[k].row;
    if (w == nodes_[v].parent) continue;
    nodes_[w] = {flow[k], v, 1};
    link(latest, w);
    latest = w;
    v = w;
  }
  link(latest, root);
}

void Tree::pivot(Arc entering, double reduced_cost) noexcept {
  // Flow is pushed around the cycle from the apex down to the row, over the entering arc, and from
  // the column up to the apex. It falls on arcs to parents from rows on the first part and from
  // columns on the second. Of the node pairs on both sides the one with the smaller subtree is not
  // an ancestor of the other, so it is not the apex.
  const Node row = entering.row;
  const Node col = column(entering.col);
  double row_delta = std::numeric_limits<double>::infinity();
  double col_delta = row_delta;
  Node row_leaving = 0;
  Node col_leaving = 0;
  Node u = row;
  Node v = col;
  while (u != v) {
    if (nodes_[u].size < nodes_[v].size) {
      if (is_row(u) && nodes_[u].flow < row_delta) {
        row_delta = nodes_[u].flow;
        row_leaving = u;
      }
      u = nodes_[u].parent;
    } else {
      if (!is_row(v) && nodes_[v].flow <= col_delta) {
        col_delta = nodes_[v].flow;
        col_leaving = v;
      }
      v = nodes_[v].parent;
    }
  }
  const Node apex = u;
  const bool column_side = col_delta <= row_delta;
  const double delta = column_side ? col_delta : row_delta;
  const Node leaving = column_side ? col_leaving : row_leaving;
  if (delta > 0) {
    for (u = row; u != apex; u = nodes_[u].parent) nodes_[u].flow += is_row(u) ? -delta : delta;
    for (v = col; v != apex; v = nodes_[v].parent) nodes_[v].flow += is_row(v) ? delta : -delta;
  }

  const Node tip = column_side ? col : row;
  const Node target = column_side ? row : col;
  const Node moved = nodes_[leaving].size;
  const Node old_parent = nodes_[leaving].parent;
  for (u = old_parent; u != apex; u = nodes_[u].parent) nodes_[u].size -= moved;
  for (u = target; u != apex; u = nodes_[u].parent) nodes_[u].size += moved;
  move(leaving, tip, target, delta);

  const double step = column_side ? -reduced_cost : reduced_cost;
  const Node others = static_cast<Node>(nodes_.size()) - moved;
  if (moved <= others) {
    add(tip, last_[tip], moved, step);
  } else {
    shift -= step;
    add(next_[last_[tip]], previous_[tip], others, -step);
  }
}

// Adds to the potentials of a stretch of the preorder, of `count` nodes, from both ends at once.
void Tree::add(Node first, Node last, Node count, double step) noexcept {
  double* const potential = pi.data();
  const Node* const forth = next_.data();
  const Node* const back = previous_.data();
  for (Node k = count / 2; k > 0; --k) {
    potential[first] += step;
    potential[last] += step;
    first = forth[first];
    last = back[last];
  }
  if (count % 2 != 0) potential[first] += step;
}

// Cuts the subtree of `leaving` off, makes `tip` its root, and hangs it below `target`.
void Tree::move(Node leaving, Node tip, Node target, double flow) noexcept {
  const Node before = previous_[leaving];
  const Node end = last_[leaving];
  const Node after = next_[end];
  const Node moved = nodes_[leaving].size;
  for (Node u = nodes_[leaving].parent; u >= 0 && last_[u] == end; u = nodes_[u].parent)
    last_[u] = before;

  // In the new preorder every node of the path from the tip up to `leaving` comes, with what it has
  // below it beside the path, after the node below it. `below` is the path's node treated last;
  // the other names with `below` say what was true of it before this move.
  Node below = tip;
  Node below_previous = previous_[tip];
  Node below_end = last_[tip];
  Node below_next = next_[below_end];
  Node below_size = nodes_[tip].size;
  double below_flow = nodes_[tip].flow;
  Node tail = below_end;  // of the new preorder
  Node v = nodes_[tip].parent;
  nodes_[tip] = {flow, target, moved};
  while (below != leaving) {
    const Climb old = nodes_[v];
    const Node old_previous = previous_[v];
    const Node old_last = last_[v];
    const Node first_end = below_previous;
    const Node second = below_next;
    const bool split = below_end != old_last;
    if (split) below_next = next_[old_last];
    link(tail, v);
    if (split) link(first_end, second);
    tail = split ? old_last : first_end;
    nodes_[v] = {below_flow, below, static_cast<Node>(moved - below_size)};
    below = v;
    below_previous = old_previous;
    below_end = old_last;
    below_size = old.size;
    below_flow = old.flow;
    v = old.parent;
  }
  for (Node u = leaving;; u = nodes_[u].parent) {
    last_[u] = tail;
    if (u == tip) break;
  }

  link(before, after);
  const Node following = next_[target];
  link(target, tip);
  link(tail, following);
  for (Node u = target; u >= 0 && last_[u] == target; u = nodes_[u].parent) last_[u] = tail;
}

}  // namespace kantorch::cpu::network
