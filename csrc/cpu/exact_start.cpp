#include "cpu/exact_start.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/pool.hpp"

namespace kantorch::cpu::network {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

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

// Rows and columns with what they still have to give and get. Since no part of the rows has just
// the weight of a part of the columns (see Tree), each cell that is used exhausts its row or its
// column but not both, until the last exhausts everything: so the cells make a spanning tree.
class Allocation {
 public:
  template <class T>
  Allocation(const Instance<T>& instance, Node root) {
    for (const double mass : instance.a) rows_.push_back({mass, 1});
    for (const double mass : instance.b) cols_.push_back({mass, 0});
    cols_[root].epsilons = instance.n();
    count_ = rows_.size() + cols_.size() - 1;
    arcs.reserve(count_);
    flow.reserve(count_);
  }

  bool complete() const noexcept { return arcs.size() == count_; }
  bool row_open(Node i) const noexcept { return positive(rows_[i]); }
  bool col_open(Node j) const noexcept { return positive(cols_[j]); }

  void use_open(Arc arc) {
    if (row_open(arc.row) && col_open(arc.col)) use(arc.row, arc.col);
  }

  // The row and the column must be open.
  void use(Node i, Node j) {
    const Amount amount = std::min(rows_[i], cols_[j]);
    rows_[i] -= amount;
    cols_[j] -= amount;
    arcs.push_back({i, j});
    flow.push_back(amount.mass);
  }

  std::vector<Arc> arcs;
  std::vector<double> flow;

 private:
  static bool positive(const Amount& x) noexcept { return Amount{0, 0} < x; }

  std::vector<Amount> rows_;
  std::vector<Amount> cols_;
  std::size_t count_;
};

// Indices of the values that are not absent, in ascending order of sign, exponent and leading bits:
// a counting sort.
std::vector<Node> nearly_sorted(const std::vector<float>& values) {
  const int shift = 32 - (values.size() < 4096 ? 10 : 13);
  const auto key = [shift](float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof(word));
    word = word >> 31 != 0 ? ~word : word | 0x80000000u;
    return word >> shift;
  };
  std::vector<Node> first((std::size_t{1} << (32 - shift)) + 1, 0);
  for (const float value : values) ++first[key(value) + 1];
  for (std::size_t k = 1; k < first.size(); ++k) first[k] += first[k - 1];
  const Node present = first[key(screen_absent)];
  std::vector<Node> order(values.size());
  for (std::size_t k = 0; k < values.size(); ++k)
    order[first[key(values[k])]++] = static_cast<Node>(k);
  order.resize(static_cast<std::size_t>(present));
  return order;
}

// The entries, in the given order, that join two components of the graph so far (Kruskal).
template <class Cell>
std::vector<Node> spanning_forest(const std::vector<Node>& order, const Cell& cell, Node n,
                                  Node m) {
  std::vector<Node> above(static_cast<std::size_t>(n + m));
  for (Node v = 0; v < n + m; ++v) above[v] = v;
  const auto top = [&](Node v) {
    while (above[v] != v) v = above[v] = above[above[v]];
    return v;
  };
  std::vector<Node> forest;
  for (const Node entry : order) {
    const Arc arc = cell(entry);
    const Node u = top(arc.row);
    const Node v = top(n + arc.col);
    if (u == v) continue;
    above[u] = v;
    forest.push_back(entry);
    if (static_cast<Node>(forest.size()) == n + m - 1) break;
  }
  return forest;
}

// The entries of a forest in an order in which each is, without those before it, the last at one of
// its ends.
template <class Cell>
std::vector<Node> leaves_first(const std::vector<Node>& forest, const Cell& cell, Node n, Node m) {
  std::vector<Node> degree(static_cast<std::size_t>(n + m), 0);
  std::vector<Node> sum(static_cast<std::size_t>(n + m), 0);  // exclusive or of incident entries
  const auto toggle = [&](Node entry, Node change) {
    const Arc arc = cell(entry);
    for (const Node v : {arc.row, static_cast<Node>(n + arc.col)}) {
      degree[v] += change;
      sum[v] ^= entry;
    }
    return arc;
  };
  for (const Node entry : forest) toggle(entry, 1);
  std::vector<Node> leaves;
  for (Node v = 0; v < n + m; ++v)
    if (degree[v] == 1) leaves.push_back(v);
  std::vector<Node> order;
  order.reserve(forest.size());
  for (std::size_t k = 0; k < leaves.size(); ++k) {
    const Node v = leaves[k];
    if (degree[v] == 0) continue;  // the other end was a leaf, too
    order.push_back(sum[v]);
    const Arc arc = toggle(sum[v], -1);
    const Node other = v < n ? static_cast<Node>(n + arc.col) : arc.row;
    if (degree[other] == 1) leaves.push_back(other);
  }
  return order;
}

// Gives every row that is open its cheapest open columns, whatever they are. False if stopped.
bool fill_by_rows(const Screen& screen, Node n, Node m, Allocation& allocation,
                  const Control& control) {
  const auto& kernels = reduced_cost();
  // Exhausted columns are shut out by a large negative potential.
  std::vector<float> shut(static_cast<std::size_t>(screen.stride), 0.0f);
  for (Node j = 0; j < m; ++j)
    if (!allocation.col_open(j)) shut[j] = -screen_absent;
  for (Node i = 0; i < n && !allocation.complete(); ++i) {
    if (control.stopped()) return false;
    while (allocation.row_open(i)) {
      const Smallest best =
          kernels.screen_smallest(screen.row(i), shut.data(), screen.stride, 2 * screen_absent);
      const Node j = static_cast<Node>(best.index);
      allocation.use(i, j);
      if (!allocation.col_open(j)) shut[j] = -screen_absent;
    }
  }
  return true;
}

// The same from the columns, for few rows of many columns.
bool fill_by_columns(const Screen& screen, Node n, Node m, Allocation& allocation,
                     const Control& control) {
  std::vector<Node> open;
  for (Node i = 0; i < n; ++i)
    if (allocation.row_open(i)) open.push_back(i);
  for (Node j = 0; j < m && !allocation.complete(); ++j) {
    if (j % 4096 == 0 && control.stopped()) return false;
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

double mean_of(const Screen& screen, Index m) noexcept {
  const Index n = static_cast<Index>(screen.f.size());
  const Index step = std::max<Index>(1, n / 32);
  double sum = 0;
  for (Index i = 0; i < n; i += step) {
    const float* row = screen.row(i);
    float part[4] = {};
    Index j = 0;
    for (; j + 4 <= m; j += 4)
      for (Index k = 0; k < 4; ++k) part[k] += row[j + k];
    for (; j < m; ++j) part[0] += row[j];
    sum += (part[0] + part[1]) + (part[2] + part[3]);
  }
  return sum / static_cast<double>((n + step - 1) / step * m);
}

template <class T>
bool start_potentials(const Instance<T>& instance, const double* f_init, const double* g_init,
                      Screen& screen, const Control& control) {
  const auto& kernels = reduced_cost().rows(T{});
  const Index n = instance.n();
  const Index m = instance.m();
  screen.f.assign(static_cast<std::size_t>(n), 0);
  screen.g.assign(static_cast<std::size_t>(m), 0);

  // Transforms both ways bring any g to potentials that are feasible and of the size of the costs.
  if (f_init != nullptr && g_init != nullptr) {
    for (Index j = 0; j < m; ++j) {
      const double g = std::ldexp(g_init[instance.cols[j]], -instance.exponent);
      screen.g[j] = std::isfinite(g) ? g : -infinity;
    }
    const double top = *std::max_element(screen.g.begin(), screen.g.end());
    for (double& g : screen.g) g = std::isfinite(top) ? std::max(g - top, -4.0) : 0;
  }
  const auto transform_rows = [&] {
    return for_rows(instance, control, [&](Index i, const T* row) {
      screen.f[i] = kernels.smallest(row, instance.scale, instance.base, screen.g.data(), m).value;
    });
  };
  if (!transform_rows()) return false;
  screen.g.assign(static_cast<std::size_t>(m), infinity);
  return for_rows(instance, control.serial(), [&](Index i, const T* row) {
    kernels.lower(row, instance.scale, instance.base, screen.f[i], m, screen.g.data());
  });
}

template <class T>
bool fill_screen(const Instance<T>& instance, Screen& screen, const Control& control) {
  const auto& kernels = reduced_cost().rows(T{});
  const Index m = instance.m();
  screen.stride = Screen::padded(m);
  return for_rows(instance, control, [&](Index i, const T* row) {
    float* out = screen.data + i * screen.stride;
    kernels.screen(row, instance.scale, instance.base, screen.f[i], screen.g.data(), m, out);
    std::fill(out + m, out + screen.stride, screen_absent);
  });
}

bool fill_shortlist(const Screen& screen, Shortlist& shortlist, const Control& control) {
  const auto& kernels = reduced_cost();
  const Index n = static_cast<Index>(screen.f.size());
  const std::size_t count = static_cast<std::size_t>(n * shortlist_size);
  shortlist.values.resize(count);
  shortlist.columns.resize(count);
  const Index block = std::max<Index>(1, std::min(n, 65536 / screen.stride));
  return parallel_for((n + block - 1) / block, team(control, n * screen.stride), [&](Index k) {
    for (Index i = k * block; i < std::min(n, (k + 1) * block); ++i)
      kernels.shortlist(screen.row(i), screen.stride, &shortlist.values[i * shortlist_size],
                        &shortlist.columns[i * shortlist_size]);
  });
}

template <class T>
bool start_basis(const Instance<T>& instance, const Screen& screen, const Shortlist& shortlist,
                 Tree& tree, const Control& control) {
  const Node n = static_cast<Node>(instance.n());
  const Node m = static_cast<Node>(instance.m());
  const auto largest = std::max_element(instance.b.begin(), instance.b.end());
  const Node root = static_cast<Node>(largest - instance.b.begin());
  Allocation allocation(instance, root);

  const std::vector<Node> order = nearly_sorted(shortlist.values);
  const auto cell = [&](Node entry) {
    return Arc{static_cast<Node>(entry / shortlist_size), shortlist.columns[entry]};
  };
  // Were the potentials optimal, a spanning tree of cheapest cells would be an optimal basis. Its
  // flow follows from the leaves inwards; where that fails for want of mass, what a node keeps goes
  // to the cheapest cells that are left.
  for (const Node entry : leaves_first(spanning_forest(order, cell, n, m), cell, n, m))
    allocation.use_open(cell(entry));
  for (const Node entry : order) allocation.use_open(cell(entry));

  if (m / 64 <= n ? !fill_by_rows(screen, n, m, allocation, control)
                  : !fill_by_columns(screen, n, m, allocation, control)) {
    return false;
  }
  tree.build(n, m, static_cast<Node>(n + root), allocation.arcs, allocation.flow);
  return true;
}

template bool start_potentials<float>(const Instance<float>&, const double*, const double*, Screen&,
                                      const Control&);
template bool start_potentials<double>(const Instance<double>&, const double*, const double*,
                                       Screen&, const Control&);
template bool fill_screen<float>(const Instance<float>&, Screen&, const Control&);
template bool fill_screen<double>(const Instance<double>&, Screen&, const Control&);
template bool start_basis<float>(const Instance<float>&, const Screen&, const Shortlist&, Tree&,
                                 const Control&);
template bool start_basis<double>(const Instance<double>&, const Screen&, const Shortlist&, Tree&,
                                  const Control&);

}  // namespace kantorch::cpu::network
