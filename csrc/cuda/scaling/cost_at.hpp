// One entry of the cost of a problem, stored or a distance between points.
#pragma once

#include <cmath>

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

// body(extend), where extend(difference, distance) takes that in one more coordinate into a distance, squared if it is the
// Euclidean one.
template <class T, class Body>
KANTORCH_DEVICE void with_metric(Metric metric, const Body& body) {
  if (metric == Metric::cityblock) {
    body([](T difference, T& distance) { distance += difference < 0 ? -difference : difference; });
  } else if (metric == Metric::chebyshev) {
    body([](T difference, T& distance) {
      const T size = difference < 0 ? -difference : difference;
      distance = distance < size ? size : distance;
    });
  } else {
    body([](T difference, T& distance) { distance += difference * difference; });
  }
}

template <class T>
KANTORCH_DEVICE T distance(const PointsView<T>& points, Index i, Index j) {
  const T* const x = points.x + i * points.dims;
  const T* const y = points.y + j / panel * panel * points.dims + j % panel;
  T sum = 0;
  for (Index d = 0; d < points.dims; ++d)
    with_metric<T>(points.metric, [&](const auto& extend) { extend(x[d] - y[d * panel], sum); });
  return points.metric == Metric::euclidean ? std::sqrt(sum) : sum;
}

template <class T>
struct StoredCost {
  MatrixView<T> matrix;

  KANTORCH_DEVICE T operator()(Index i, Index j) const { return matrix.row(i)[j]; }

  // Row i in the registers of lanes; 0 for columns that are not there.
  template <class Columns>
  KANTORCH_DEVICE void row(Index i, const Columns& columns, T (&costs)[Columns::count]) const {
    const T* const at = matrix.row(i) + columns.rank();
    columns.each([&](int k, int offset, bool is_there) { costs[k] = is_there ? at[offset] : 0; });
  }
};

template <class T>
struct DistanceCost {
  PointsView<T> points;

  KANTORCH_DEVICE T operator()(Index i, Index j) const { return distance(points, i, j); }

  // As of StoredCost.
  template <class Columns>
  KANTORCH_DEVICE void row(Index i, const Columns& columns, T (&costs)[Columns::count]) const {
    static_assert(Columns::lanes % panel == 0, "a lane's columns have one place in their panels");
    const Index dims = points.dims;
    const T* const x = points.x + i * dims;
    const T* const y = points.y + columns.rank() / panel * panel * dims + columns.rank() % panel;
    KANTORCH_UNROLL
    for (int k = 0; k < Columns::count; ++k) costs[k] = 0;
    with_metric<T>(points.metric, [&](const auto& extend) {
      for (Index d = 0; d < dims; ++d) {
        const T at_x = x[d];
        const T* const at = y + d * panel;
        int stride = static_cast<int>(dims);
        KANTORCH_FRESH(stride);  // or products with it are spilled
        columns.each([&](int k, int offset, bool is_there) {
          if (is_there) extend(at_x - at[static_cast<Index>(offset) * stride], costs[k]);
        });
      }
    });
    if (points.metric == Metric::euclidean) {
      KANTORCH_UNROLL
      for (int k = 0; k < Columns::count; ++k) costs[k] = std::sqrt(costs[k]);
    }
  }
};

// Problem k of a batch. Loops that are to be fast ask once which of the two it is.
template <class T>
class CostOf {
 public:
  KANTORCH_DEVICE CostOf(const CostBatch<T>& cost, Index k)
      : matrix_{cost[k]}, distance_{cost.points[k]}, stored_(!cost.points.given()) {}

  KANTORCH_DEVICE bool is_stored() const { return stored_; }
  KANTORCH_DEVICE const StoredCost<T>& matrix() const { return matrix_; }
  KANTORCH_DEVICE const DistanceCost<T>& distances() const { return distance_; }

  KANTORCH_DEVICE T operator()(Index i, Index j) const {
    return stored_ ? matrix_(i, j) : distance_(i, j);
  }

 private:
  StoredCost<T> matrix_;
  DistanceCost<T> distance_;
  bool stored_;
};

}  // namespace kantorch::cuda
