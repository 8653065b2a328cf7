// exp of a double, to the precision of T.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

// 2^k for a normal result.
KANTORCH_DEVICE float power_of_two(int k) {
  const std::uint32_t bits = static_cast<std::uint32_t>(k + 127) << 23;
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// Of float, the integer part of the exponent is taken off in double: the relative error stays that of exp2, where the
// exponent as a float would lose a digit for each that stands before its point. Below 2^-126 the result is 0.
template <class T, class Team>
KANTORCH_DEVICE T exponential(Team& team, double x) {
  if constexpr (sizeof(T) == sizeof(double)) {
    return exp(x);
  } else {
    constexpr double log2_e = 1.4426950408889634;
    const double y = x * log2_e;
    if (y <= -126) return 0;  // not for NaN, which it hands on
    const double whole = rint(fmin(y, 127.0));
    return team.exp2(static_cast<float>(y - whole)) * power_of_two(static_cast<int>(whole));
  }
}

}  // namespace kantorch::cuda
