// Where passes over the rows of a cost take them from: a stored matrix, or points, whose distances
// are computed a few rows at a time and never stored.
#pragma once

#include <algorithm>

#include "core/view.hpp"
#include "cpu/runtime/arena.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/simd/distance_rows.hpp"

namespace kantorch::cpu {

template <class T>
class CostRows {
 public:
  // A matrix of its own is never needed for `stored` costs.
  CostRows(Arena& arena, Index n, Index m, bool stored) noexcept
      : blocks_(n, m),
        cols_(m),
        stride_(padded(m, panel)),
        scratch_(stored ? nullptr : arena.take<T>(blocks_.count * distance_group * stride_)) {}

  void bind(const MatrixView<T>& matrix) noexcept { matrix_ = matrix; }
  void bind(const PointsView<T>& points) noexcept { points_ = points; }

  bool stored() const noexcept { return matrix_.data != nullptr; }
  const MatrixView<T>& matrix() const noexcept { return matrix_; }
  const PointsView<T>& points() const noexcept { return points_; }
  const RowBlocks& blocks() const noexcept { return blocks_; }
  Index rows() const noexcept { return blocks_.rows; }
  Index cols() const noexcept { return cols_; }

  // Row i of its block. The rows of a block are asked for in their order, from its first one.
  const T* row(Index i, Index block) noexcept {
    if (stored()) return matrix_.row(i);
    const Index at = (i - blocks_.first(block)) % distance_group;
    if (at == 0) group(i, block);
    return of_block(block) + at * stride_;
  }

  // Rows i, i + 1, ... of points: as many as this returns, in scratch that may be overwritten.
  Index group(Index i, Index block) noexcept {
    const Index left = blocks_.last(block) - i;
    const Index count = left < distance_group ? left : distance_group;
    distance_rows<T>().rows(points_, points_.x + i * points_.dims, count, cols_, of_block(block));
    return count;
  }
  T* of_block(Index block) noexcept { return scratch_ + block * distance_group * stride_; }
  Index stride() const noexcept { return stride_; }  // of those rows

 private:
  RowBlocks blocks_;
  Index cols_;
  Index stride_;
  T* scratch_;
  MatrixView<T> matrix_;
  PointsView<T> points_;
};

// Costs of points up to this many entries are stored for the time of a solve: computing them once
// is faster than in every iteration, and the memory is a constant.
inline bool is_streamed(Index n, Index m) noexcept { return n > (Index{1} << 22) / m; }

// Writes all rows one after the other. False if it was stopped.
template <class T>
bool copy_rows(CostRows<T>& rows, T* out, const Cpu& exec) noexcept {
  const RowBlocks& blocks = rows.blocks();
  return parallel_for(blocks.count, exec, [&](Index block) {
    blocks.each(block, exec, [&](Index i) {
      std::copy_n(rows.row(i, block), rows.cols(), out + i * rows.cols());
    });
  });
}

// The distances between points, stored.
template <class T>
class DistanceMatrix {
 public:
  DistanceMatrix(Arena& arena, Index n, Index m) noexcept
      : rows_(arena, n, m, false), data_(arena.take<T>(n * m)) {}

  // False if it was stopped.
  bool fill(const PointsView<T>& points, const Cpu& exec) noexcept {
    rows_.bind(points);
    return copy_rows(rows_, data_, exec);
  }

  MatrixView<T> view() const noexcept { return {data_, rows_.rows(), rows_.cols(), rows_.cols()}; }

 private:
  CostRows<T> rows_;
  T* data_;
};

}  // namespace kantorch::cpu
