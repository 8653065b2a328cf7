// The scaling form of Sinkhorn's iteration on a stored kernel K: products with K, no exponentials.
#pragma once

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

// What a pass finds out about the scalings that it updates.
struct ScalingRange {
  double low = 1;  // the smallest and the largest new scaling
  double high = 1;
  double error = 0;  // sum_i a_i |r_i - 1|, where a_i r_i was the sum of row i before its update
};

template <class T>
struct ScalingRows {
  // For each of `count` rows of K, `stride` numbers apart: r_i = u_i sum_j K_ij w_j, u_i becomes
  // u_i r_i^-omega, and col_j += a_i u_i K_ij.
  void (*rows)(const T* k, Index stride, Index count, Index m, const T* w, const double* a,
               double omega, double* u, T* col, ScalingRange* range);

  // total_j = col_j if `first`, else total_j + col_j; col_j = 0.
  void (*fold)(T* col, Index m, bool first, double* total);

  // For j in [0, m): c_j is the sum of parts[s * stride + j] over s < count, r_j = v_j c_j,
  // v_next_j = v_j r_j^-omega, w_j = b_j v_next_j.
  void (*columns)(const double* parts, Index count, Index stride, Index m, const double* b,
                  double omega, const double* v, double* v_next, T* w, ScalingRange* range);
};

struct ScalingTable {
  ScalingRows<float> single_rows;
  ScalingRows<double> double_rows;

  const ScalingRows<float>& rows(float) const noexcept { return single_rows; }
  const ScalingRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(ScalingTable, scaling_table)

template <class T>
const ScalingRows<T>& scaling_rows() noexcept {
  return scaling_table().rows(T{});
}

}  // namespace kantorch::cpu
