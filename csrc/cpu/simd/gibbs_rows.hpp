// Loops over one row of the plan's family, exp(f_i + g_j - rate C_ij) with rate = 1 / eps and f, g
// in units of eps. The arithmetic is in double whatever the cost's type.
#pragma once

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

struct RowTop {
  double top;  // the largest exponent
  double sum;  // relative to exp(top)
};

struct RowSums {
  double mass;
  double cost;
};

template <class T>
struct GibbsRows {
  // e_j = exp(g_j - rate c_j - top), where top is the largest exponent among b_j > 0; sum_j b_j
  // e_j.
  RowTop (*softmin)(const T* c, const double* g, const double* b, double rate, Index m, double* e);

  // y_j += x e_j
  void (*add)(double x, const double* e, Index m, double* y);

  // out_j = exp(f + g_j - rate c_j), not above 1e34, so that its products with weights in T are
  // finite.
  void (*kernel)(const T* c, const double* g, double f, double rate, Index m, T* out);

  // out_j = x y_j exp(f + g_j - rate c_j)
  void (*plan)(const T* c, const double* g, const T* y, double f, double x, double rate, Index m,
               T* out);

  // p_j = a b_j exp(f + g_j - rate c_j)
  void (*plan_in_double)(const T* c, const double* g, const double* b, double f, double a,
                         double rate, Index m, double* p);

  // The sums of those p_j and of p_j c_j; col_j += a exp(f + g_j - rate c_j), without b_j.
  RowSums (*measure)(const T* c, const double* g, const double* b, double f, double a, double rate,
                     Index m, double* col);

  // top_j = max(top_j, f - rate c_j)
  void (*raise)(const T* c, double f, double rate, Index m, double* top);

  // sum_j += a exp(f - rate c_j - top_j)
  void (*add_below)(const T* c, const double* top, double f, double a, double rate, Index m,
                    double* sum);

  // The limit of small eps: min_j c_j - g_j, and low_j = min(low_j, c_j - f).
  double (*smallest)(const T* c, const double* g, Index m);
  void (*lower)(const T* c, double f, Index m, double* low);

  // Over b_j > 0 and c_j < limit: widens `high` to hold c_j, and the sums of share and share (c_j - from). `low` holds
  // every c_j.
  void (*range)(const T* c, const double* b, double limit, Index m, double* low, double* high);
  RowSums (*excess)(const T* c, const double* b, double limit, double from, double share, Index m);
};

struct GibbsTable {
  GibbsRows<float> single_rows;
  GibbsRows<double> double_rows;

  const GibbsRows<float>& rows(float) const noexcept { return single_rows; }
  const GibbsRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(GibbsTable, gibbs_table)

template <class T>
const GibbsRows<T>& gibbs_rows() noexcept {
  return gibbs_table().rows(T{});
}

}  // namespace kantorch::cpu
