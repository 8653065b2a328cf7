#include "cpu/exact/assignment.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

#include "cpu/simd/assignment.hpp"

namespace kantorch::cpu::network {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr Node none = -1;
constexpr Index poll = 64;

constexpr double coarsest = 0.02;  // epsilon / mean cost
constexpr double decay = 0.2;

// Scans per row after which the network simplex is expected to be faster. Points in 8 and more
// dimensions, n = 1000 to 2000, need 4 to 6 up to the end of the first level, 7.4 to 9.1, 9.4 to
// 12; points in the plane 5, 10 to 11, 15 to 16. All that is for cold starts; of warm ones the last
// level and the augmentations take 3 to 6 in 8 and more dimensions, 10 to 15 in 2 and 3.
constexpr double auction_scans[] = {6.3, 9.3, 12.5};
constexpr Index all_scans = 24;

}  // namespace

template <class T>
bool Assignment<T>::fits(const Instance<T>& instance) noexcept {
  const auto equal = [&](double x) { return x == instance.a[0]; };
  return instance.n() == instance.m() && instance.n() > 1 &&
         std::all_of(instance.a.begin(), instance.a.end(), equal) &&
         std::all_of(instance.b.begin(), instance.b.end(), equal);
}

template <class T>
Assigned Assignment<T>::run(const Instance<T>& instance, const Screen& screen, bool cold,
                            Index limit, const Cpu& exec) {
  const Index n = instance.n();
  const std::size_t size = static_cast<std::size_t>(n);
  col_of.assign(size, none);
  row_of_.assign(size, none);
  f.resize(size);
  g.resize(size);
  prices_.assign(static_cast<std::size_t>(screen.stride), 0.0f);
  buffer_.resize(n == instance.cost.cols ? 0 : size);
  scans_ = augmentations = 0;
  constexpr std::size_t levels = std::size(auction_scans);
  double eps = coarsest * mean_of(n, n, [&](Index i) { return screen.row(i); });
  for (std::size_t level = 0; level < levels; ++level, eps *= decay) {
    if (!cold && level + 1 < levels) continue;  // good potentials are beyond the coarse levels
    const Assigned state = auction(screen, static_cast<float>(eps), auction_scans[level], exec);
    if (state != Assigned::yes) return state;
  }
  for (Index j = 0; j < n; ++j) g[j] = screen.g[j] + prices_[j];
  start_.assign(size, none);
  if (!cold) start_ = row_of_;
  const Assigned reduced = reduce(instance, limit, exec);
  if (reduced == Assigned::interrupted) return reduced;
  for (Node i = 0; i < n; ++i)
    if (col_of[i] != none) f[i] = instance(i, col_of[i]) - g[col_of[i]];
  if (reduced == Assigned::max_iterations) {
    fill_up(instance);
    return reduced;
  }
  for (const Node i : free_) {
    if (augmentations == limit) {
      fill_up(instance);
      return Assigned::max_iterations;
    }
    if (!augment(instance, i, exec)) return Assigned::interrupted;
    ++augmentations;
    if (scans_ > all_scans * n) return Assigned::too_hard;
  }
  for (Node i = 0; i < n; ++i) f[i] = instance(i, col_of[i]) - g[col_of[i]];
  return Assigned::yes;
}

// One level: every row bids for its cheapest column until all have one.
template <class T>
Assigned Assignment<T>::auction(const Screen& screen, float eps, double scans_per_row,
                                const Cpu& exec) {
  const Index enough = static_cast<Index>(scans_per_row * static_cast<double>(f.size()));
  const auto& kernels = assignment_table();
  const Node n = static_cast<Node>(f.size());
  std::fill(row_of_.begin(), row_of_.end(), none);
  free_.clear();
  for (Node i = n; i-- > 0;) free_.push_back(i);
  while (!free_.empty()) {
    const Node i = free_.back();
    const TwoSmallest best =
        kernels.screen_two_smallest(screen.row(i), prices_.data(), screen.stride);
    const Node j = static_cast<Node>(best.index);
    prices_[j] -= static_cast<float>(best.second - best.first) + eps;
    if (row_of_[j] == none) {
      free_.pop_back();
    } else {
      free_.back() = row_of_[j];
    }
    row_of_[j] = i;
    if (++scans_ > enough) return Assigned::too_hard;
    if (scans_ % poll == 0 && exec.stopped()) return Assigned::interrupted;
  }
  return Assigned::yes;
}

// Bids without epsilon, so that every assigned row has its cheapest column; rows between which such
// bids cannot decide stay free.
template <class T>
Assigned Assignment<T>::reduce(const Instance<T>& instance, Index limit, const Cpu& exec) {
  const auto& kernels = assignment_table().rows(T{});
  const Node n = static_cast<Node>(f.size());
  std::fill(row_of_.begin(), row_of_.end(), none);
  std::fill(col_of.begin(), col_of.end(), none);
  free_.clear();
  for (Node i = n; i-- > 0;) free_.push_back(i);
  std::vector<Node> left;
  for (int pass = 0; pass < 2; ++pass) {
    left.clear();
    const Index enough = scans_ + 4 * n;
    while (!free_.empty()) {
      const Node i = free_.back();
      free_.pop_back();
      const TwoSmallest best = kernels.two_smallest(instance.row(i, buffer_.data()), instance.scale,
                                                    instance.base, g.data(), n);
      f[i] = best.first;
      const Node j = static_cast<Node>(best.index);
      const Node other = row_of_[j];
      const bool decided = best.second > best.first;
      if (other != none && !decided) {
        left.push_back(i);
        ++scans_;
        continue;
      }
      if (other == none && start_[j] != i) {
        if (augmentations == limit) return Assigned::max_iterations;
        ++augmentations;
      }
      if (decided) g[j] -= best.second - best.first;
      assign(i, j);
      if (other != none) {
        col_of[other] = none;
        (scans_ < enough ? free_ : left).push_back(other);
      }
      if (++scans_ % poll == 0 && exec.stopped()) return Assigned::interrupted;
    }
    free_.assign(left.rbegin(), left.rend());
  }
  return Assigned::yes;
}

template <class T>
bool Assignment<T>::augment(const Instance<T>& instance, Node free, const Cpu& exec) {
  const auto& kernels = assignment_table().rows(T{});
  const std::size_t size = f.size();
  distance_.assign(size, infinity);
  via_.assign(size, none);
  open_g_ = g;
  done_.clear();
  done_distance_.clear();
  ++scans_;
  f[free] = reduced_cost_table().rows(T{}).least(instance.row(free, buffer_.data()), instance.scale,
                                                 instance.base, g.data(), instance.m());
  double length = 0;
  Node i = free;
  Node sink;
  for (;;) {
    const Smallest nearest = kernels.relax(instance.row(i, buffer_.data()), instance.scale,
                                           instance.base, open_g_.data(), f[i] - length, i,
                                           instance.m(), distance_.data(), via_.data());
    const Node j = static_cast<Node>(nearest.index);
    length = std::max(length, nearest.value);
    if (row_of_[j] == none) {
      sink = j;
      break;
    }
    done_.push_back(j);
    done_distance_.push_back(length);
    distance_[j] = infinity;
    open_g_[j] = -infinity;
    i = row_of_[j];
    if (++scans_ % poll == 0 && exec.stopped()) return false;
  }
  f[free] += length;
  for (std::size_t k = 0; k < done_.size(); ++k) {
    const double change = length - done_distance_[k];
    g[done_[k]] -= change;
    f[row_of_[done_[k]]] += change;
  }
  for (Node j = sink; j != none;) {
    const Node row = static_cast<Node>(via_[j]);
    const Node next = col_of[row];
    assign(row, j);
    j = next;
  }
  return true;
}

// Any column for each row without one: what is nearest in the sense of the potentials.
template <class T>
void Assignment<T>::fill_up(const Instance<T>& instance) noexcept {
  const Index n = instance.n();
  for (Node i = 0; i < n; ++i) {
    if (col_of[i] != none) continue;
    Node nearest = none;
    double least = infinity;
    for (Node j = 0; j < n; ++j) {
      if (row_of_[j] != none) continue;
      const double reduced = instance(i, j) - g[j];
      if (nearest != none && !(reduced < least)) continue;
      nearest = j;
      least = reduced;
    }
    assign(i, nearest);
  }
}

template class Assignment<float>;
template class Assignment<double>;

}  // namespace kantorch::cpu::network
