#include "cpu/exact_start.hpp"

#include <algorithm>
#include <cmath>
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

// A cell of a row, ordered for a heap with the smallest value on top.
struct Cheapest {
  double value;
  Node row;
  Node col;

  bool operator<(const Cheapest& other) const noexcept {
    return value > other.value || (value == other.value && row > other.row);
  }
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

// The matrix minimum method: of all cells whose row and column are open, always the cheapest. False
// if stopped.
bool fill_cheapest_first(const Screen& screen, const Shortlist& shortlist, Node n, Node m,
                         Allocation& allocation, const Control& control) {
  const auto& kernels = reduced_cost();
  // Exhausted columns are shut out by a large negative potential.
  std::vector<float> shut(static_cast<std::size_t>(screen.stride), 0.0f);
  const auto cheapest = [&](Node i) -> Cheapest {
    if (!shortlist.empty()) {
      const Node* columns = &shortlist.columns[i * shortlist_size];
      const Smallest best =
          kernels.shortlist_smallest(&shortlist.values[i * shortlist_size], columns, shut.data());
      if (best.value < screen_absent / 2) return {best.value, i, columns[best.index]};
    }
    const Smallest best =
        kernels.screen_smallest(screen.row(i), shut.data(), screen.stride, 2 * screen_absent);
    return {best.value, i, static_cast<Node>(best.index)};
  };

  // A heap of the open rows. Columns are shut meanwhile, so a row's cell may be out of date; but it
  // is not cheaper than the heap says.
  std::vector<Cheapest> heap;
  heap.reserve(static_cast<std::size_t>(n));
  for (Node i = 0; i < n; ++i) heap.push_back(cheapest(i));
  std::make_heap(heap.begin(), heap.end());
  for (Index step = 0; !allocation.complete(); ++step) {
    if (step % 64 == 63 && control.stopped()) return false;
    std::pop_heap(heap.begin(), heap.end());
    const Cheapest cell = heap.back();
    heap.pop_back();
    if (allocation.col_open(cell.col)) {
      allocation.use(cell.row, cell.col);
      if (!allocation.col_open(cell.col)) shut[cell.col] = -screen_absent;
      if (!allocation.row_open(cell.row)) continue;
    }
    heap.push_back(cheapest(cell.row));
    std::push_heap(heap.begin(), heap.end());
  }
  return true;
}

// Gives every column its cheapest open rows, for few rows of many columns.
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
  const bool worthwhile = screen.stride > 2 * shortlist_size;
  const std::size_t count = static_cast<std::size_t>(worthwhile ? n * shortlist_size : 0);
  shortlist.values.resize(count);
  shortlist.columns.resize(count);
  if (!worthwhile) return true;
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

  if (m / 64 <= n ? !fill_cheapest_first(screen, shortlist, n, m, allocation, control)
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
