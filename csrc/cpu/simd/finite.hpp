#pragma once

#include "core/view.hpp"

namespace kantorch::cpu {

// Whether none of x[0..size) is infinite or NaN.
struct FiniteRows {
  bool (*single)(const float* x, Index size) noexcept;
  bool (*twice)(const double* x, Index size) noexcept;
};

const FiniteRows& finite_rows() noexcept;

}  // namespace kantorch::cpu
