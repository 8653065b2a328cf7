// Borrowed views of a batch of problems. They never own and never allocate.
#pragma once

#include <cstdint>

namespace kantorch {

using Index = std::int64_t;

// A row-major matrix with contiguous columns; strides are in elements.
template <class T>
struct MatrixView {
  const T* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index row_stride = 0;

  constexpr const T* row(Index i) const noexcept { return data + i * row_stride; }
};

// B contiguous vectors. A batch stride of 0 shares one vector; no data means "not given".
template <class T>
struct VectorBatch {
  const T* data = nullptr;
  Index batch_stride = 0;

  constexpr const T* operator[](Index k) const noexcept {
    return data == nullptr ? nullptr : data + k * batch_stride;
  }
};

// The distance between points that is the cost; the numbers are Python's names in their order.
enum class Metric : int { sqeuclidean = 0, euclidean = 1, cityblock = 2, chebyshev = 3 };

// The points of y that lie side by side, coordinate by coordinate.
constexpr Index panel = 16;

constexpr Index padded(Index size, Index multiple) noexcept {
  return (size + multiple - 1) / multiple * multiple;
}

// Two clouds of points: x one after the other, y in panels of which the last is filled up with
// zeros.
template <class T>
struct PointsView {
  const T* x = nullptr;  // (rows, dims)
  const T* y = nullptr;  // (padded(cols, panel) / panel, dims, panel)
  Index dims = 0;
  Metric metric = Metric::sqeuclidean;
};

// B pairs of contiguous clouds. A batch stride of 0 shares a cloud between all problems.
template <class T>
struct PointsBatch {
  const T* x = nullptr;
  const T* y = nullptr;
  Index dims = 0;
  Index x_batch_stride = 0;
  Index y_batch_stride = 0;
  Metric metric = Metric::sqeuclidean;

  constexpr bool given() const noexcept { return x != nullptr; }
  constexpr PointsView<T> operator[](Index k) const noexcept {
    return {x + k * x_batch_stride, y + k * y_batch_stride, dims, metric};
  }
};

// B cost matrices, stored or given by the points that they are the distances of. A batch stride of
// 0 shares one matrix between all problems.
template <class T>
struct CostBatch {
  const T* data = nullptr;
  Index batch = 0;
  Index rows = 0;
  Index cols = 0;
  Index batch_stride = 0;
  Index row_stride = 0;
  PointsBatch<T> points;

  constexpr MatrixView<T> operator[](Index k) const noexcept {
    return {data + k * batch_stride, rows, cols, row_stride};
  }
};

}  // namespace kantorch
