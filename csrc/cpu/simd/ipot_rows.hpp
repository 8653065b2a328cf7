// One step of IPOT over a strip of rows, e_ij = B^(A_i + h_j - slope R_ij): in float B = 2 and R is
// a reduced cost in units of beta, in double B = e and R is the cost.
#pragma once

#include "core/view.hpp"
#include "cpu/runtime/row_stride.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

struct HRange {
  double low;
  double high;
};

template <class T>
struct IpotRows {
  // For each of `count` rows: s_i = sum_j w_j e_ij, col_j += a_i / s_i e_ij, s_i is stored. Where
  // s_i is outside [low, high], A_i is first replaced by minus the largest exponent among w_j > 0.
  // `e` holds ipot_group rows of row_stride<T>(m) numbers. A finite `cap` promises that no exponent is
  // above 126, and none below -126 once R is cut to it, and that h comes from `extrapolate`.
  void (*rows)(const T* r, Index stride, Index count, Index m, const T* h, const T* w,
               const double* a, T slope, T cap, T* A, double* s, T* e, T* col);

  // h_j + log2(w_j / b_j) = 2 g_j - last_j and the range of that. In float h_j is rounded to a
  // multiple of Exp2Table's step, in double w = b and the range is empty.
  HRange (*extrapolate)(const double* g, const double* last, const double* b, Index m, T* h, T* w);

  // out_i = from_i - unit log x_i; returns the largest |out_i|.
  double (*subtract_log)(const T* from, const double* x, double unit, Index size, double* out);

  // out_j = (c_j - f - g_j) rate, in double and then rounded; the smallest. With b, columns without
  // mass count as 0 at least.
  double (*reduce)(const T* c, const double* g, double f, double rate, const double* b, Index m,
                   T* out);
};

constexpr Index ipot_group = 4;

struct IpotTable {
  IpotRows<float> single_rows;
  IpotRows<double> double_rows;

  const IpotRows<float>& rows(float) const noexcept { return single_rows; }
  const IpotRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(IpotTable, ipot_table)

template <class T>
const IpotRows<T>& ipot_rows() noexcept {
  return ipot_table().rows(T{});
}

}  // namespace kantorch::cpu
