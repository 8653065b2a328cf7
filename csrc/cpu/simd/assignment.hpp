// Loops of the assignment algorithms: auction on a float32 screen, shortest paths on the costs.
#pragma once

#include <cstdint>

#include "core/view.hpp"
#include "cpu/simd/level.hpp"
#include "cpu/simd/reduced_cost.hpp"

namespace kantorch::cpu {

struct TwoSmallest {
  double first;
  double second;  // infinite if there is one column only
  Index index;    // of the first
};

template <class T>
struct AssignmentRows {
  // Of (C_j * scale - base) - g_j.
  TwoSmallest (*two_smallest)(const T* cost, double scale, double base, const double* g, Index m);

  // One step of Dijkstra's algorithm from a row: lowers distance_j to (C_j * scale - base) - g_j -
  // offset and then sets via_j = row. Returns the smallest distance. Columns with g_j = -infinity
  // and an infinite distance stay out of it.
  Smallest (*relax)(const T* cost, double scale, double base, const double* g, double offset,
                    Index row, Index m, double* distance, std::int64_t* via);
};

struct AssignmentTable {
  AssignmentRows<float> single_rows;
  AssignmentRows<double> double_rows;

  // Of row_j - g_j over a padded row of a screen.
  TwoSmallest (*screen_two_smallest)(const float* row, const float* g, Index padded);

  const AssignmentRows<float>& rows(float) const noexcept { return single_rows; }
  const AssignmentRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(AssignmentTable, assignment_table)

}  // namespace kantorch::cpu
