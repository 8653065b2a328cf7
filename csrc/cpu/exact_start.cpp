#include "cpu/exact_start.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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

}  // namespace

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

template <class T>
bool start_basis(const Instance<T>& instance, const Screen& screen, Tree& tree,
                 const Control& control) {
  const auto& kernels = reduced_cost();
  const Node n = static_cast<Node>(instance.n());
  const Node m = static_cast<Node>(instance.m());
  const auto largest = std::max_element(instance.b.begin(), instance.b.end());
  const Node root = static_cast<Node>(largest - instance.b.begin());
  Allocation allocation(instance, root);

  // Exhausted columns are shut out by a large negative potential.
  std::vector<float> shut(static_cast<std::size_t>(screen.stride), 0.0f);
  for (Node i = 0; i < n && !allocation.complete(); ++i) {
    if (control.stopped()) return false;
    while (allocation.row_open(i)) {
      const Smallest best = kernels.screen_smallest(screen.row(i), shut.data(), screen.stride);
      const Node j = static_cast<Node>(best.index);
      allocation.use(i, j);
      if (!allocation.col_open(j)) shut[j] = -screen_absent;
    }
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
template bool start_basis<float>(const Instance<float>&, const Screen&, Tree&, const Control&);
template bool start_basis<double>(const Instance<double>&, const Screen&, Tree&, const Control&);

}  // namespace kantorch::cpu::network
