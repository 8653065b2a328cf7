// Lower bounds on the unregularised optimum, and the range of a cost.
#pragma once

#include "core/control.hpp"
#include "core/view.hpp"
#include "cpu/batch.hpp"

namespace kantorch::cpu {

// Doubles of scratch that `dual_value` needs.
constexpr Index dual_value_scratch(Index n, Index m) noexcept {
  return n + (RowBlocks(n).count + 1) * m;
}

// <a, f'> + <b, g'> mass(a) / mass(b) for g' = the c-transform of f and f' = that of g'; false if
// it was stopped.
template <class T, class W>
bool dual_value(const MatrixView<T>& cost, const W* a, const W* b, const double* f, double* scratch,
                const Control& control, double* value) noexcept;

// The smallest and the largest cost, and the mean of cost - smallest, over pairs of points with
// mass. All 0 if there are none.
struct CostRange {
  double low = 0;
  double high = 0;
  double mean = 0;
};
template <class T>
CostRange cost_range(const MatrixView<T>& cost, const double* a, const double* b) noexcept;

}  // namespace kantorch::cpu
