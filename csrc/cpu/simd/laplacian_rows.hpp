// Dense linear algebra of the Laplacian solver, in double.
#pragma once

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

struct LaplacianTable {
  // w[i * ld + k] += sum_p x[p * ldx + i] y[p * ldy + k] for i in [0, rows), k in [0, cols), p in
  // [0, depth); p where all x of a group of rows are 0 is skipped.
  void (*rank_update)(double* w, Index ld, Index rows, Index cols, const double* x, Index ldx,
                      const double* y, Index ldy, Index depth);

  double (*sum)(const double* x, Index size);
  double (*dot)(const double* x, const double* y, Index size);
  void (*add_multiple)(double s, const double* x, Index size, double* y);  // y += s x
  void (*scale)(double s, const double* x, Index size, double* y);         // y = s x
};

KANTORCH_TABLE_PER_LEVEL(LaplacianTable, laplacian_table)

}  // namespace kantorch::cpu
