// Loops over rows of reduced costs, for the exact solver.
//
// The working cost of an entry is C * scale - base. A "screen" is a float32 matrix of reduced costs
// against fixed starting potentials: small where it matters, so that float32 resolves it. Its rows
// are padded to a multiple of `screen_padding` with `screen_absent`.
#pragma once

#include <cstdint>

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

constexpr Index screen_padding = 32;
constexpr float screen_absent = 1e30f;

// Windows of shortlist_size columns are laid over each other, each shortlist_step columns on: were
// it the size itself, the neighbours of a point in an image 32 pixels wide would compete for one
// place.
constexpr Index shortlist_size = 32;
constexpr Index shortlist_step = 26;

// The smallest value of a row, at its first place.
struct Smallest {
  double value;
  Index index;
};

template <class T>
struct ReducedCostRows {
  // Widens [low, high] to hold the row.
  void (*range)(const T* cost, Index m, T* low, T* high);

  // out_j = (C_j * scale - base) - f - g_j
  void (*screen)(const T* cost, double scale, double base, double f, const double* g, Index m,
                 float* out);

  // min_j (C_j * scale - base) - g_j with its place, or alone, which is cheaper
  Smallest (*smallest)(const T* cost, double scale, double base, const double* g, Index m);
  double (*least)(const T* cost, double scale, double base, const double* g, Index m);

  // low_j = min(low_j, (C_j * scale - base) - f)
  void (*lower)(const T* cost, double scale, double base, double f, Index m, double* low);
};

struct ReducedCostTable {
  ReducedCostRows<float> single_rows;
  ReducedCostRows<double> double_rows;

  // min_j row_j - g_j over a padded row, infinite if that is not below the limit
  Smallest (*screen_smallest)(const float* row, const float* g, Index padded, float limit);

  // The columns of the entries of a padded row that are at most the limit, the first `most` of
  // them, and their number.
  Index (*screen_below)(const float* row, Index padded, float limit, Index most,
                        std::int32_t* columns);

  // The smallest entries of a padded row, nearly: of the columns at one place of the windows the
  // smallest. A column may be there twice.
  void (*shortlist)(const float* row, Index padded, float* values, std::int32_t* columns);

  // min_k values_k - g[columns_k] of a shortlist; the index is k
  Smallest (*shortlist_smallest)(const float* values, const std::int32_t* columns, const float* g);

  const ReducedCostRows<float>& rows(float) const noexcept { return single_rows; }
  const ReducedCostRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(ReducedCostTable, reduced_cost_table)

}  // namespace kantorch::cpu
