#include "cpu/exact/support.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace kantorch::cpu::network {
namespace {

constexpr double feasibility_rounding = 0x1p-44;

}  // namespace

void assign_tree(const Tree& tree, Support& support) {
  const Node n = static_cast<Node>(tree.rows());
  const Node root = tree.root();
  support.cells.clear();
  for (Node v = tree.previous(root); v != root; v = tree.previous(v))
    support.cells.push_back({tree.arc(v), tree.is_row(v), tree.flow(v) > 0});
  support.last_col = root - n;
  support.f.assign(tree.pi.begin(), tree.pi.begin() + n);
  support.g.assign(tree.pi.begin() + n, tree.pi.end());
  for (double& g : support.g) g = -g;
}

void assign_permutation(const std::vector<Node>& col_of, const std::vector<double>& f,
                        const std::vector<double>& g, Support& support) {
  support.cells.clear();
  for (std::size_t i = 0; i < col_of.size(); ++i)
    support.cells.push_back({{static_cast<Node>(i), col_of[i]}, true, true});
  support.last_col = 0;
  support.f = f;
  support.g = g;
}

double feasibility(const double* f, Index n, const double* g, Index m) noexcept {
  double largest = 1;
  for (Index i = 0; i < n; ++i) largest = std::max(largest, std::abs(f[i]));
  for (Index j = 0; j < m; ++j) largest = std::max(largest, std::abs(g[j]));
  return feasibility_rounding * largest;
}

template <class T>
Verdict verify(const Instance<T>& instance, const double* f, const double* g, const Cpu& exec,
               std::vector<Node>& suspects) {
  const auto& kernels = reduced_cost_table().rows(T{});
  const Index m = instance.m();
  // Lowering the potentials adds at most half of this level.
  const double level = feasibility(f, instance.n(), g, m) / 2;
  static_assert(local_rounding <= feasibility_rounding / 4);
  std::vector<double> low_g(g, g + m);
  for (double& x : low_g) x = lowered(x);
  std::vector<char> feasible(static_cast<std::size_t>(instance.n()));
  std::atomic<bool> nearly{true};
  const bool complete = for_rows(instance, exec, [&](Index i, const T* row) {
    const double least =
        kernels.least(row, instance.scale, instance.base, low_g.data(), m) - lowered(f[i]);
    feasible[i] = least >= 0;
    if (!(least >= -level)) nearly.store(false, std::memory_order_relaxed);
  });
  if (!complete) return Verdict::interrupted;
  suspects.clear();
  for (Index i = 0; i < instance.n(); ++i)
    if (!feasible[i]) suspects.push_back(static_cast<Node>(i));
  if (!nearly) return Verdict::violated;
  return suspects.empty() ? Verdict::feasible : Verdict::nearly_feasible;
}

template Verdict verify<float>(const Instance<float>&, const double*, const double*, const Cpu&,
                               std::vector<Node>&);
template Verdict verify<double>(const Instance<double>&, const double*, const double*, const Cpu&,
                                std::vector<Node>&);

}  // namespace kantorch::cpu::network
