#pragma once

#include "core/view.hpp"

namespace kantorch::cpu {

// The largest bit pattern of |x[0..size)|. Bits of non-negative floating point numbers order like
// the numbers, and those of infinities and NaNs come after all finite ones, so one pass finds the
// largest value and any fault.
struct AbsMaxRows {
  std::uint32_t (*single)(const float* x, Index size) noexcept;
  std::uint64_t (*twice)(const double* x, Index size) noexcept;
};

const AbsMaxRows& abs_max_rows() noexcept;

}  // namespace kantorch::cpu
