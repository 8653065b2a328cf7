// The range of a problem's costs, and voids in it.
//
// Costs far above all others, with nothing between, are such that no plan is meant to pay, of blocked cells. Solvers that
// took their scale from these would lose the digits of the costs that are paid.
#pragma once

#include <cmath>

#include "common/host_device.hpp"

namespace kantorch {

// Over pairs of points with mass; 0 and 0 if there are none.
struct CostRange {
  double low = 0;
  double high = 0;

  // Of the spread, which may overflow.
  KANTORCH_BOTH double half() const noexcept { return high / 2 - low / 2; }
  KANTORCH_BOTH double size() const noexcept { return std::fmax(std::fabs(low), std::fabs(high)); }
};

// Of the costs below some limit: their share, and their mean above the smallest one.
struct CostExcess {
  double share = 0;
  double mean = 0;
};

// In a void no cost is between 1e-6 and 1e-3 of the spread above the smallest one.
constexpr double void_factor = 1e3;

// Where a void in this range would end.
KANTORCH_BOTH double void_end(const CostRange& range) noexcept {
  return range.low + 2 * (range.half() / void_factor);
}

// Whether there is one, from the range of the costs below its end.
KANTORCH_BOTH bool is_below_void(const CostRange& below, const CostRange& range) noexcept {
  return below.half() < range.half() / void_factor / void_factor;
}

// Voids count down to a range of costs of `half`. Where a `share` is asked for, so much of all costs has to lie below, and
// they must not be equal, as nothing would be left to measure by. Below a void there is more than a range of `tried`,
// which had no plan.
struct VoidSearch {
  double half = 0;
  double share = 0;
  double tried = -1;
};
// Of fewer costs, distances of nearly equal points may be, which are nothing but rounding.
constexpr double least_share_below = 1.0 / 32;

// Costs have a long tail where so large a share of them lies within so small a part of their spread: few costs would then
// decide what counts as small. `spread`, which begins as that of all costs, is cut to a quarter as long as that is so, but
// not to their last digits. `share_below(x)` is the share of the costs that are less than x above the smallest,
// and 0 where they all are the smallest.
template <class ShareBelow>
KANTORCH_BOTH double without_tail(double spread, ShareBelow&& share_below) {
  constexpr double part = 1.0 / 64, share = 1.0 / 4;
  const double least = spread * 0x1p-40;
  while (spread / 4 > least && share_below(spread * part) >= share) spread /= 4;
  return spread;
}

}  // namespace kantorch
