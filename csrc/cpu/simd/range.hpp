// New scalings from the sums of rows or columns, and the range that they take.
#pragma once

#include "cpu/simd/exp.hpp"
#include "cpu/simd/lanes.hpp"
#include "cpu/simd/scaling_rows.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

// Collects the range of the new scalings. A NaN among them shows in the error.
struct Range {
  Pack<double> low = Pack<double>::all(1e300);
  Pack<double> high = Pack<double>::all(-1e300);
  Pack<double> error = Pack<double>::all(0);

  void take(Pack<double> weight, Pack<double> ratio, Pack<double> scaling) noexcept {
    low = min(scaling, low);
    high = max(scaling, high);
    const Pack<double> deviation = ratio - Pack<double>::all(1);
    error = error + weight * max(deviation, Pack<double>::all(0) - deviation);
  }

  void merge_into(ScalingRange* range) const noexcept {
    const double lo = smallest(low), hi = largest(high);
    range->low = lo < range->low ? lo : range->low;
    range->high = hi > range->high ? hi : range->high;
    range->error += sum(error);
  }
};

// scaling ratio^-omega
inline Pack<double> updated(Pack<double> scaling, Pack<double> ratio, double omega) noexcept {
  if (omega == 1) return scaling / ratio;
  return scaling * exp(Pack<double>::all(-omega) * log(ratio));
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
