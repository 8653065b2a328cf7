// Distances between points, from differences of coordinates: nothing cancels for points that are
// close together or far from the origin.
#pragma once

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

constexpr Index distance_group = 8;  // points of x that share the loads of y

template <class T>
struct DistanceRows {
  // out[r * padded(m, panel) + j] is the distance of x_r and y_j, for r < count <= distance_group
  // and all of y's panels.
  void (*rows)(const PointsView<T>& points, const T* x, Index count, Index m, T* out);

  // out[r * dims + k] = sum_j p_rj d c_rj / d x_rk, where c_rj are those distances. p lies as c
  // does, with zeros beyond m, and is overwritten.
  void (*point_gradient)(const PointsView<T>& points, const T* x, Index count, Index m, T* p,
                         const T* c, T* out);
};

struct DistanceTable {
  DistanceRows<float> single_rows;
  DistanceRows<double> double_rows;

  const DistanceRows<float>& rows(float) const noexcept { return single_rows; }
  const DistanceRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(DistanceTable, distance_table)

template <class T>
const DistanceRows<T>& distance_rows() noexcept {
  return distance_table().rows(T{});
}

}  // namespace kantorch::cpu
