#include "cpu/exact/refinement.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kantorch::cpu::network {

void Refinement::start(const Support& support) {
  f_.resize(support.f.size());
  g_.resize(support.g.size());
  for (std::size_t j = 0; j < g_.size(); ++j) g_[j] = {support.g[j], 0};
}

template <class T>
bool Refinement::evaluate(const Instance<T>& instance, const Support& support, const Cpu& exec) {
  const Index n = instance.n(), m = instance.m();
  // The cost in working units before the base is taken off, which would round it.
  const auto unrounded = [&](T c) { return static_cast<double>(c) * instance.scale; };
  // Backwards, the cells of a tree lead away from its root.
  for (auto cell = support.cells.rbegin(); cell != support.cells.rend(); ++cell) {
    const Node i = cell->arc.row, j = cell->arc.col;
    const Wide c{unrounded(instance.cost.row(instance.rows[i])[instance.cols[j]]), 0};
    (cell->from_row ? f_[i] : g_[j]) = c.plus(-(cell->from_row ? g_[j] : f_[i]));
  }
  double largest = 0;
  for (const Wide& f : f_) largest = std::max(largest, std::abs(f.high));
  for (const Wide& g : g_) largest = std::max(largest, std::abs(g.high));
  // Of paths of so many cells; costs may also be lost below the range.
  constexpr double lost = std::numeric_limits<double>::denorm_min();
  rounding_ = static_cast<double>(n + m) * (0x1p-102 * largest + lost);

  costs_.resize(static_cast<std::size_t>(n * m));
  constexpr double infinity = std::numeric_limits<double>::infinity();
  struct Row {
    double least = infinity, smallest = infinity;
    std::size_t tight = 0;
  };
  std::vector<Row> rows(static_cast<std::size_t>(n));
  const bool complete = for_rows(instance, exec, [&](Index i, const T* row) {
    double* const reduced = costs_.data() + i * m;
    const Wide f = f_[i];
    double least = infinity;
    for (Index j = 0; j < m; ++j) {
      const Wide left = Wide::sum(unrounded(row[j]), -f.high);
      const Wide rest = Wide::sum(left.high, -g_[j].high);
      reduced[j] = rest.high + (rest.low + (left.low - (f.low + g_[j].low)));
      least = std::min(least, reduced[j]);
    }
    Row& found = rows[i];
    found.least = least;
    for (Index j = 0; j < m; ++j) {
      if (reduced[j] > 2 * rounding_) continue;
      ++found.tight;
      const double size = std::abs(unrounded(row[j]));
      if (size > 0) found.smallest = std::min(found.smallest, size);
    }
  });
  Row all;
  for (const Row& row : rows) {
    all.least = std::min(all.least, row.least);
    all.smallest = std::min(all.smallest, row.smallest);
    all.tight += row.tight;
  }
  least_ = all.least;
  smallest_ = all.smallest < infinity ? all.smallest : 0;
  alternatives_ = all.tight > support.cells.size();
  return complete;
}

MatrixView<double> Refinement::costs() noexcept {
  const auto n = static_cast<Index>(f_.size()), m = static_cast<Index>(g_.size());
  const double level = least_ - 4 * static_cast<double>(n + m) * least_;
  for (double& cost : costs_) cost = std::min(cost, level);
  return {costs_.data(), n, m, m};
}

void Refinement::add(const std::vector<double>& g, int exponent) noexcept {
  for (std::size_t j = 0; j < g_.size(); ++j) g_[j] = g_[j].plus({std::ldexp(g[j], exponent), 0});
}

template <class T>
void Refinement::round(const Instance<T>& instance, Support& support) const noexcept {
  for (std::size_t i = 0; i < f_.size(); ++i) support.f[i] = f_[i].plus({-instance.base, 0}).high;
  for (std::size_t j = 0; j < g_.size(); ++j) support.g[j] = g_[j].high;
}

template bool Refinement::evaluate(const Instance<float>&, const Support&, const Cpu&);
template bool Refinement::evaluate(const Instance<double>&, const Support&, const Cpu&);
template void Refinement::round(const Instance<float>&, Support&) const noexcept;
template void Refinement::round(const Instance<double>&, Support&) const noexcept;

}  // namespace kantorch::cpu::network
