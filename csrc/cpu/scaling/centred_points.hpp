// Points about their centre, for squared Euclidean distances |x|^2 + |y|^2 - 2 <x, y>. These take
// half the arithmetic of differences, but lose digits where points are closer to each other than to
// the centre.
#pragma once

#include <algorithm>

#include "core/view.hpp"
#include "cpu/runtime/arena.hpp"
#include "cpu/scaling/cost_rows.hpp"

namespace kantorch::cpu {

template <class T>
class CentredPoints {
 public:
  CentredPoints(Arena& arena, Index n, Index m, Index dims) noexcept
      : rows_(n),
        cols_(m),
        dims_(dims),
        centre_(arena.take<double>(dims)),
        square_of_y_(arena.take<double>(m)),
        y_(arena.take<T>(padded(m, panel) * dims)),
        x_(arena.take<T>(RowBlocks(n, m).count * distance_group * dims)) {}

  void set(const PointsView<T>& points) noexcept {
    points_ = points;
    const Index width = dims_ * panel;
    std::fill_n(centre_, dims_, 0.0);
    for (Index j = 0; j < cols_; ++j) {
      for (Index k = 0; k < dims_; ++k) centre_[k] += static_cast<double>(coordinate(j, k));
    }
    for (Index k = 0; k < dims_; ++k) centre_[k] /= static_cast<double>(cols_);
    std::fill_n(y_, padded(cols_, panel) * dims_, T{0});
    double largest_y = 0, largest_x = 0;
    for (Index j = 0; j < cols_; ++j) {
      double square = 0;
      for (Index k = 0; k < dims_; ++k) {
        const double t = static_cast<double>(coordinate(j, k)) - centre_[k];
        y_[j / panel * width + k * panel + j % panel] = static_cast<T>(t);
        square += t * t;
      }
      square_of_y_[j] = square;
      largest_y = std::max(largest_y, square);
    }
    for (Index i = 0; i < rows_; ++i) largest_x = std::max(largest_x, square_of_x(i));
    largest_ = largest_x + largest_y;
  }

  // The largest |x|^2 + |y|^2.
  double largest() const noexcept { return largest_; }

  const T* y() const noexcept { return y_; }  // in panels
  double square_of_y(Index j) const noexcept { return square_of_y_[j]; }
  double square_of_x(Index i) const noexcept {
    double square = 0;
    for (Index k = 0; k < dims_; ++k) {
      const double t = centred(i, k);
      square += t * t;
    }
    return square;
  }

  // `factor` times x_i, x_{i+1}, ..., in memory of the block.
  const T* scaled_x(Index i, Index count, double factor, Index block) noexcept {
    T* out = x_ + block * distance_group * dims_;
    for (Index r = 0; r < count; ++r) {
      for (Index k = 0; k < dims_; ++k)
        out[r * dims_ + k] = static_cast<T>(factor * centred(i + r, k));
    }
    return out;
  }

 private:
  T coordinate(Index j, Index k) const noexcept {
    return points_.y[j / panel * (panel * dims_) + k * panel + j % panel];
  }
  double centred(Index i, Index k) const noexcept {
    return static_cast<double>(points_.x[i * dims_ + k]) - centre_[k];
  }

  Index rows_;
  Index cols_;
  Index dims_;
  double* centre_;
  double* square_of_y_;
  T* y_;
  T* x_;
  PointsView<T> points_;
  double largest_ = 0;
};

}  // namespace kantorch::cpu
