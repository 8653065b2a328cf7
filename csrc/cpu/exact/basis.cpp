#include "cpu/exact/basis.hpp"

#include <algorithm>

#include "common/ordered.hpp"

namespace kantorch::cpu::network {
namespace {

// Weights with a multiple of an infinitesimal epsilon, ordered lexicographically.
struct Amount {
  double mass;
  Index epsilons;

  bool operator<(const Amount& other) const noexcept {
    return mass < other.mass || (mass == other.mass && epsilons < other.epsilons);
  }
  void operator-=(const Amount& other) noexcept {
    mass -= other.mass;
    epsilons -= other.epsilons;
  }
};

// The cheapest cell of every row, and of all of these the cheapest: a tree of knock-out rounds with
// no branch that could be guessed wrong, as a heap has at every level.
class CheapestCells {
 public:
  explicit CheapestCells(Node n) : columns_(static_cast<std::size_t>(n)) {
    while (leaves_ < static_cast<std::size_t>(n)) leaves_ *= 2;
    winners_.assign(2 * leaves_, ~std::uint64_t{0});
  }

  // The row of the cheapest cell, the first of several.
  Node row() const noexcept { return static_cast<Node>(winners_[1]); }
  Node column(Node row) const noexcept { return columns_[row]; }

  void set(Node row, Smallest cell) noexcept {
    columns_[row] = static_cast<Node>(cell.index);
    const std::uint64_t value = ordered(static_cast<float>(cell.value));
    change(row, value << 32 | static_cast<std::uint32_t>(row));
  }
  void drop(Node row) noexcept { change(row, ~std::uint64_t{0}); }

 private:
  void change(Node row, std::uint64_t player) noexcept {
    for (std::size_t at = leaves_ + static_cast<std::size_t>(row); at > 1; at /= 2) {
      winners_[at] = player;
      player = std::min(player, winners_[at ^ 1]);
    }
    winners_[1] = player;
  }

  std::size_t leaves_ = 1;
  std::vector<std::uint64_t> winners_;  // of value and row; the children of k are 2 k and 2 k + 1
  std::vector<Node> columns_;
};

// Rows and columns with what they still have to give and get. Since no part of the rows has just
// the weight of a part of the columns (see Tree), each cell that is used exhausts its row or its
// column but not both, until the last exhausts everything: so the cells make a spanning tree.
class Allocation {
 public:
  template <class T>
  Allocation(const Instance<T>& instance, Node root) {
    rows_.reserve(instance.a.size());
    cols_.reserve(instance.b.size());
    for (const double mass : instance.a) rows_.push_back({mass, 1});
    for (const double mass : instance.b) cols_.push_back({mass, 0});
    cols_[root].epsilons = instance.n();
    row_open_.assign(rows_.size(), 1);
    col_open_.assign(cols_.size(), 1);
    count_ = rows_.size() + cols_.size() - 1;
    arcs.reserve(count_);
    flow.reserve(count_);
  }

  bool complete() const noexcept { return arcs.size() == count_; }
  bool row_open(Node i) const noexcept { return row_open_[i] != 0; }
  bool col_open(Node j) const noexcept { return col_open_[j] != 0; }

  void use_open(Arc arc) {
    if ((row_open_[arc.row] & col_open_[arc.col]) != 0) use(arc.row, arc.col);
  }

  // The row and the column must be open.
  void use(Node i, Node j) {
    const Amount amount = std::min(rows_[i], cols_[j]);
    rows_[i] -= amount;
    cols_[j] -= amount;
    row_open_[i] = positive(rows_[i]);
    col_open_[j] = positive(cols_[j]);
    arcs.push_back({i, j});
    flow.push_back(amount.mass);
  }

  std::vector<Arc> arcs;
  std::vector<double> flow;

 private:
  static bool positive(const Amount& x) noexcept { return Amount{0, 0} < x; }

  std::vector<Amount> rows_;
  std::vector<Amount> cols_;
  std::vector<unsigned char> row_open_;
  std::vector<unsigned char> col_open_;
  std::size_t count_;
};

// Indices of the values that are not absent, in ascending order of sign, exponent and leading bits:
// a counting sort.
std::vector<Node> nearly_sorted(const std::vector<float>& values) {
  const std::size_t size = values.size();
  const int shift = 32 - (size < 4096 ? 10 : 13);
  const auto key_of = [shift](float value) {
    return static_cast<std::uint16_t>(ordered(value) >> shift);
  };
  const std::uint16_t absent = key_of(screen_absent);
  std::vector<std::uint16_t> keys(size);
  std::uint16_t low = absent;
  for (std::size_t k = 0; k < size; ++k) {
    keys[k] = key_of(values[k]);
    low = std::min(low, keys[k]);
  }
  std::vector<Node> first(static_cast<std::size_t>(absent - low) + 2, 0);
  for (const std::uint16_t key : keys) ++first[key - low + 1];
  for (std::size_t k = 1; k < first.size(); ++k) first[k] += first[k - 1];
  const Node present = first[absent - low];
  std::vector<Node> order(size);
  for (std::size_t k = 0; k < size; ++k) order[first[keys[k] - low]++] = static_cast<Node>(k);
  order.resize(static_cast<std::size_t>(present));
  return order;
}

// The cells, in the given order, that join two components of the graph so far (Kruskal).
std::vector<Node> spanning_forest(const std::vector<Arc>& cells, Node n, Node m) {
  std::vector<Node> above(static_cast<std::size_t>(n + m));
  for (Node v = 0; v < n + m; ++v) above[v] = v;
  const auto top = [&](Node v) {
    while (above[v] != v) v = above[v] = above[above[v]];
    return v;
  };
  std::vector<Node> forest;
  for (std::size_t k = 0; k < cells.size(); ++k) {
    const Node u = top(cells[k].row);
    const Node v = top(n + cells[k].col);
    if (u == v) continue;
    above[u] = v;
    forest.push_back(static_cast<Node>(k));
    if (static_cast<Node>(forest.size()) == n + m - 1) break;
  }
  return forest;
}

// The cells of a forest in an order in which each is, without those before it, the last at one of
// its ends.
std::vector<Node> leaves_first(const std::vector<Arc>& cells, const std::vector<Node>& forest,
                               Node n, Node m) {
  std::vector<Node> degree(static_cast<std::size_t>(n + m), 0);
  std::vector<Node> sum(static_cast<std::size_t>(n + m), 0);  // exclusive or of incident cells
  const auto toggle = [&](Node k, Node change) {
    for (const Node v : {cells[k].row, static_cast<Node>(n + cells[k].col)}) {
      degree[v] += change;
      sum[v] ^= k;
    }
  };
  for (const Node k : forest) toggle(k, 1);
  std::vector<Node> leaves;
  for (Node v = 0; v < n + m; ++v)
    if (degree[v] == 1) leaves.push_back(v);
  std::vector<Node> order;
  order.reserve(forest.size());
  for (std::size_t at = 0; at < leaves.size(); ++at) {
    const Node v = leaves[at];
    if (degree[v] == 0) continue;  // the other end was a leaf, too
    const Node k = sum[v];
    order.push_back(k);
    toggle(k, -1);
    const Node other = v < n ? static_cast<Node>(n + cells[k].col) : cells[k].row;
    if (degree[other] == 1) leaves.push_back(other);
  }
  return order;
}

// About the cheapest cells of a screen, in nearly ascending order, and a few times as many as a
// spanning tree has; none if stopped.
std::vector<Arc> cheapest_cells(const Screen& screen, const Shortlist& shortlist, Node n, Node m,
                                const Cpu& exec) {
  const auto& kernels = reduced_cost_table();
  const Index nodes = n + m;

  // The limit comes from a sample of every row.
  Shortlist sample;
  if (shortlist.empty() && !fill_shortlist(screen, sample, exec)) return {};
  const std::vector<float>& sampled = shortlist.empty() ? sample.values : shortlist.values;
  const std::vector<Node> sorted = nearly_sorted(sampled);
  const std::size_t rank = std::min(static_cast<std::size_t>(3 * nodes), sorted.size() - 1);
  const float limit = sampled[sorted[rank]];

  // Where many cells are equal, a part of them is enough.
  const Index most = 32 + 4 * nodes / n;
  std::vector<Arc> cells;
  std::vector<float> values;
  std::vector<Node> columns(static_cast<std::size_t>(most));
  for (Node i = 0; i < n; ++i) {
    if (i % 64 == 63 && exec.stopped()) return {};
    const Index count =
        kernels.screen_below(screen.row(i), screen.stride, limit, most, columns.data());
    for (Index k = 0; k < count; ++k) {
      cells.push_back({i, columns[k]});
      values.push_back(screen.row(i)[columns[k]]);
    }
  }
  std::vector<Arc> ordered;
  ordered.reserve(cells.size());
  for (const Node entry : nearly_sorted(values)) ordered.push_back(cells[entry]);
  return ordered;
}

// Were the potentials optimal, a spanning tree of cheapest cells would be an optimal basis, with a
// flow that follows from the leaves inwards. If they are only near it, this is a worse start than
// the matrix minimum.
void use_cheapest_forest(const Screen& screen, const Shortlist& shortlist, Node n, Node m,
                         Allocation& allocation, const Cpu& exec) {
  const std::vector<Arc> cells = cheapest_cells(screen, shortlist, n, m, exec);
  for (const Node k : leaves_first(cells, spanning_forest(cells, n, m), n, m))
    allocation.use_open(cells[k]);
}

// The matrix minimum method: of all cells whose row and column are open, always the cheapest. False
// if stopped.
bool fill_cheapest_first(const Screen& screen, const Shortlist& shortlist, Node n, Node m,
                         Allocation& allocation, const Cpu& exec) {
  const auto& kernels = reduced_cost_table();
  // Exhausted columns are shut out by a large negative potential.
  std::vector<float> shut(static_cast<std::size_t>(screen.stride), 0.0f);
  for (Node j = 0; j < m; ++j)
    if (!allocation.col_open(j)) shut[j] = -screen_absent;
  const auto cheapest = [&](Node i) -> Smallest {
    if (!shortlist.empty()) {
      const Node* columns = &shortlist.columns[i * shortlist_size];
      const Smallest best =
          kernels.shortlist_smallest(&shortlist.values[i * shortlist_size], columns, shut.data());
      if (best.value < screen_absent / 2) return {best.value, columns[best.index]};
    }
    return kernels.screen_smallest(screen.row(i), shut.data(), screen.stride, 2 * screen_absent);
  };

  // Columns are shut meanwhile, so a row's cell may be out of date; but the row has none cheaper.
  CheapestCells cells(n);
  for (Node i = 0; i < n; ++i)
    if (allocation.row_open(i)) cells.set(i, cheapest(i));
  for (Index step = 0; !allocation.complete(); ++step) {
    if (step % 64 == 63 && exec.stopped()) return false;
    const Node i = cells.row(), j = cells.column(i);
    if (allocation.col_open(j)) {
      allocation.use(i, j);
      if (!allocation.col_open(j)) shut[j] = -screen_absent;
      if (!allocation.row_open(i)) {
        cells.drop(i);
        continue;
      }
    }
    cells.set(i, cheapest(i));
  }
  return true;
}

// Gives every column its cheapest open rows, for few rows of many columns.
bool fill_by_columns(const Screen& screen, Node n, Node m, Allocation& allocation,
                     const Cpu& exec) {
  std::vector<Node> open;
  for (Node i = 0; i < n; ++i)
    if (allocation.row_open(i)) open.push_back(i);
  for (Node j = 0; j < m && !allocation.complete(); ++j) {
    if (j % 4096 == 0 && exec.stopped()) return false;
    while (allocation.col_open(j)) {
      std::size_t best = 0;
      for (std::size_t k = 1; k < open.size(); ++k)
        if (screen.row(open[k])[j] < screen.row(open[best])[j]) best = k;
      allocation.use(open[best], j);
      if (!allocation.row_open(open[best])) open.erase(open.begin() + static_cast<Index>(best));
    }
  }
  return true;
}

}  // namespace

template <class T>
bool start_basis(const Instance<T>& instance, const Screen& screen, const Shortlist& shortlist,
                 bool optimal, Tree& tree, const Cpu& exec) {
  const Node n = static_cast<Node>(instance.n());
  const Node m = static_cast<Node>(instance.m());
  const auto largest = std::max_element(instance.b.begin(), instance.b.end());
  const Node root = static_cast<Node>(largest - instance.b.begin());
  Allocation allocation(instance, root);
  if (optimal) use_cheapest_forest(screen, shortlist, n, m, allocation, exec);
  if (m / 64 <= n ? !fill_cheapest_first(screen, shortlist, n, m, allocation, exec)
                  : !fill_by_columns(screen, n, m, allocation, exec)) {
    return false;
  }
  tree.build(n, m, static_cast<Node>(n + root), allocation.arcs, allocation.flow);
  return true;
}

template bool start_basis<float>(const Instance<float>&, const Screen&, const Shortlist&, bool,
                                 Tree&, const Cpu&);
template bool start_basis<double>(const Instance<double>&, const Screen&, const Shortlist&, bool,
                                  Tree&, const Cpu&);

}  // namespace kantorch::cpu::network
