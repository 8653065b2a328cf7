// Lower bounds on the unregularised optimum, and the range of a cost.
#pragma once

#include <limits>

#include "common/cost_range.hpp"
#include "core/exec.hpp"
#include "core/view.hpp"
#include "cpu/scaling/cost_rows.hpp"

namespace kantorch::cpu {

// Doubles of scratch that `dual_value` needs.
constexpr Index dual_value_scratch(Index n, Index m) noexcept {
  return n + (RowBlocks(n, m).count + 1) * m;
}

// <a, f'> + <b, g'> mass(a) / mass(b), rounded down, for g' = the c-transform of f and f' = that of g'; false if
// it was stopped.
template <class T, class W>
bool dual_value(CostRows<T>& cost, const W* a, const W* b, const double* f, double* scratch,
                const Cpu& exec, double* value) noexcept;

// A bound for distances rounded to T, between points of `dims` coordinates, as one for the distances
// themselves.
template <class T>
double below_rounded_distances(double bound, const T* a, Index n, Index dims) noexcept;

// The range of the costs, with the largest one below `limit` as its end. False if it was stopped, as below.
template <class T>
bool cost_range(CostRows<T>& cost, const double* a, const double* b, const Cpu& exec,
                CostRange* range, double limit = std::numeric_limits<double>::infinity()) noexcept;

// Of the costs below `limit`, above `low`, the smallest one.
template <class T>
bool cost_excess(CostRows<T>& cost, const double* a, const double* b, double low, double limit,
                 const Cpu& exec, CostExcess* excess) noexcept;

// Narrows the range of all costs to those below the lowest void in it, if there is one. `limit` is then where the void
// ends, and infinite otherwise.
template <class T>
bool narrow_below_voids(CostRows<T>& cost, const double* a, const double* b,
                        const VoidSearch& search, const Cpu& exec, CostRange* range,
                        double* limit) noexcept;

}  // namespace kantorch::cpu
