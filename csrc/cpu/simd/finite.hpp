#pragma once

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

// Whether none of x[0..size) is infinite or NaN.
struct FiniteRows {
  bool (*single)(const float* x, Index size) noexcept;
  bool (*twice)(const double* x, Index size) noexcept;
};

KANTORCH_TABLE_PER_LEVEL(FiniteRows, finite_table)

}  // namespace kantorch::cpu
