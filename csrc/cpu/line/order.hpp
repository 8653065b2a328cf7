// The order of points on a line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/exec.hpp"
#include "core/view.hpp"

namespace kantorch::cpu {

struct Placed {
  double at;
  std::int64_t index;

  bool operator<(const Placed& other) const noexcept {
    return at < other.at || (at == other.at && index < other.index);
  }
};

// Calls body(k) for k in [0, size). False if stopped in between.
template <class Body>
bool each_in_strips(Index size, const Cpu& exec, Body&& body) {
  constexpr Index strip = 1 << 15;
  for (Index first = 0; first < size; first += strip) {
    if (exec.stopped()) return false;
    for (Index k = first; k < std::min(size, first + strip); ++k) body(k);
  }
  return true;
}

// Makes room for `size` numbers, of which the first touch of the memory takes long. False if
// stopped; may throw bad_alloc.
template <class T>
bool resize_in_strips(std::vector<T>& x, Index size, const Cpu& exec) {
  x.reserve(static_cast<std::size_t>(size));
  return each_in_strips(size, exec, [&](Index) { x.emplace_back(); });
}

// Sorts by place, and by index where places are equal, points that are in the order of their
// indices. No place is -0. False if stopped; may throw bad_alloc.
bool sort_points(std::vector<Placed>& points, const Cpu& exec);

}  // namespace kantorch::cpu
