// One entry of the cost of a problem, stored or a distance between points.
#pragma once

#include <cmath>

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

template <class T>
KANTORCH_DEVICE T distance(const PointsView<T>& points, Index i, Index j) {
  const T* const x = points.x + i * points.dims;
  const T* const y = points.y + j / panel * panel * points.dims + j % panel;
  T sum = 0;
  for (Index k = 0; k < points.dims; ++k) {
    const T t = x[k] - y[k * panel];
    const T size = t < 0 ? -t : t;
    if (points.metric == Metric::cityblock) {
      sum += size;
    } else if (points.metric == Metric::chebyshev) {
      sum = sum < size ? size : sum;
    } else {
      sum += t * t;
    }
  }
  return points.metric == Metric::euclidean ? std::sqrt(sum) : sum;
}

template <class T>
struct StoredCost {
  MatrixView<T> matrix;

  KANTORCH_DEVICE T operator()(Index i, Index j) const { return matrix.row(i)[j]; }
};

template <class T>
struct DistanceCost {
  PointsView<T> points;

  KANTORCH_DEVICE T operator()(Index i, Index j) const { return distance(points, i, j); }
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
