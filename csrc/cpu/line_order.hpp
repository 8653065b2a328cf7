// The order of points on a line.
#pragma once

#include <cstdint>
#include <vector>

#include "core/control.hpp"
#include "core/view.hpp"

namespace kantorch::cpu {

struct Placed {
  double at;
  std::int64_t index;

  bool operator<(const Placed& other) const noexcept {
    return at < other.at || (at == other.at && index < other.index);
  }
};

// Sorts by place, and by index where places are equal, points that are in the order of their
// indices. False if stopped; may throw bad_alloc.
bool sort_points(std::vector<Placed>& points, const Control& control);

}  // namespace kantorch::cpu
