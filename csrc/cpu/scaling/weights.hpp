// The weights of a problem in double, scaled to mass 1.
#pragma once

#include "core/view.hpp"

namespace kantorch::cpu {

// Writes x / sum x and returns the sum. A vector without mass is copied.
template <class T>
double normalise(const T* x, Index size, double* out) noexcept {
  double mass = 0;
  for (Index i = 0; i < size; ++i) mass += static_cast<double>(x[i]);
  const double divisor = mass > 0 ? mass : 1;
  for (Index i = 0; i < size; ++i) out[i] = static_cast<double>(x[i]) / divisor;
  return mass;
}

}  // namespace kantorch::cpu
