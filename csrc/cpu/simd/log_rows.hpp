// The log form of Sinkhorn's iteration on rows of costs that are at hand only once: one exponential
// an entry, and no pass for the largest exponent, since the exponents of a nearly feasible plan are
// bounded.
#pragma once

#include "core/view.hpp"
#include "cpu/simd/distance_rows.hpp"
#include "cpu/simd/level.hpp"
#include "cpu/simd/scaling_rows.hpp"

namespace kantorch::cpu {

// Potentials are in units of this many eps: powers of 2 are cheaper in float.
template <class T>
constexpr double log_unit = sizeof(T) == sizeof(float) ? 0.6931471805599453 : 1.0;

// With e_ij = B^t_ij, B = exp(log_unit): for each of count <= distance_group rows r_i = sum_j w_j
// e_ij and u_i = r_i^-omega; col_j += a_i u_i e_ij. g, w and the rows of e are padded to panels;
// there w is 0 and g far below 0.
template <class T>
struct LogRows {
  // t_ij = f_i + g_j - rate c_ij. The rows c become those of e.
  void (*rows)(T* c, Index count, Index m, const T* g, const T* w, T rate, const double* f,
               const double* a, double omega, double* u, T* col, ScalingRange* range);

  // t_ij = f_i + g_j + <x_i, y_j>, with y in panels.
  void (*product_rows)(const T* x, const T* y, Index dims, Index count, Index m, const T* g,
                       const T* w, const T* f, const double* a, double omega, double* u, T* e,
                       T* col, ScalingRange* range);
};

struct LogTable {
  LogRows<float> single_rows;
  LogRows<double> double_rows;

  const LogRows<float>& rows(float) const noexcept { return single_rows; }
  const LogRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(LogTable, log_table)

template <class T>
const LogRows<T>& log_rows() noexcept {
  return log_table().rows(T{});
}

}  // namespace kantorch::cpu
