// Numbers of 32 digits.
#pragma once

#include "common/host_device.hpp"

namespace kantorch {

// A number as the sum of two doubles, good to about 2^-104 of itself (Dekker, 1971).
struct Wide {
  double high = 0;
  double low = 0;

  KANTORCH_BOTH static Wide sum(double x, double y) noexcept {
    const double high = x + y;
    const double back = high - x;
    return {high, (x - (high - back)) + (y - back)};
  }
  KANTORCH_BOTH Wide plus(Wide other) const noexcept {
    const Wide total = sum(high, other.high);
    return sum(total.high, total.low + (low + other.low));
  }
  KANTORCH_BOTH Wide operator-() const noexcept { return {-high, -low}; }
};

}  // namespace kantorch
