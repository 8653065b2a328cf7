// Solves (D + G - W) x = y, where W >= 0 is symmetric, D is the diagonal of W's row sums, and G >= 0 is diagonal, by the
// lanes of a block.
//
// As on the CPU (cpu/scaling/laplacian.hpp), elimination only adds to W and recomputes each pivot as a sum (Grassmann,
// Taksar, Heyman, Oper. Res. 33, 1985), so the factors have small relative errors however weakly parts are coupled.
#pragma once

#include <limits>

#include "cuda/runtime/team_reduce.hpp"

namespace kantorch::cuda {

template <class Team>
class Laplacian {
 public:
  static constexpr Index panel_depth = warp_size;

  // Of the memory of one.
  static KANTORCH_BOTH constexpr Index doubles(Index size) {
    return size * (size + 3 + panel_depth);
  }

  KANTORCH_DEVICE Laplacian(Team& team, TeamReduce<Team>& reduce, Index size, double* memory)
      : team_(team),
        reduce_(reduce),
        size_(size),
        weights_(memory),
        ground_(weights_ + size * size),
        floor_(ground_ + size),
        pivot_(floor_ + size),
        panel_(pivot_ + size) {}

  // G.
  KANTORCH_DEVICE double* ground() { return ground_; }

  // What a pivot must exceed to count, by the point that it belongs to; of parts of the graph it is the sum over their
  // points. Below it, right-hand sides are rounding noise there.
  KANTORCH_DEVICE double* floor() { return floor_; }

  // panel_depth rows of `size` numbers, for add_products.
  KANTORCH_DEVICE double* panel() { return panel_; }

  KANTORCH_DEVICE void clear() {
    for (Index k = team_.rank(); k < size_ * size_; k += team_.size()) weights_[k] = 0;
    team_.sync();
  }

  // W += sum_p panel[p]^T panel[p] over the first `depth` rows of the panel; the part above the diagonal alone.
  KANTORCH_DEVICE void add_products(Index depth) {
    team_.sync();
    rank_update(0, depth, panel_, panel_);
    team_.sync();
  }

  // Overwrites the weights.
  KANTORCH_DEVICE void factor() {
    team_.sync();
    for (Index start = 0; start < size_; start += panel_depth) {
      const Index end = start + panel_depth < size_ ? start + panel_depth : size_;
      for (Index p = start; p < end; ++p) eliminate(p, end);
      if (end == size_) return;
      for (Index k = end + team_.rank(); k < size_; k += team_.size()) {
        double more = 0, deeper = 0;
        for (Index p = start; p < end; ++p) {
          const double share = weights_[p * size_ + k] * reciprocal(pivot_[p]);
          panel_[(p - start) * size_ + k] = share;
          more += share * floor_[p];
          deeper += share * ground_[p];
        }
        floor_[k] += more;
        ground_[k] += deeper;
      }
      team_.sync();
      rank_update(end, end - start, panel_, weights_ + start * size_);
      team_.sync();
    }
  }

  // x is y before and the solution after. A part of the graph whose ties to the others are below its floor gets 0 at its
  // last point.
  KANTORCH_DEVICE void solve(double* x) {
    team_.sync();
    for (Index p = 0; p < size_; ++p) {
      const double head = x[p] * reciprocal(pivot_[p]);
      const double* const row = weights_ + p * size_;
      for (Index k = p + 1 + team_.rank(); k < size_; k += team_.size()) x[k] += head * row[k];
      team_.sync();
    }
    for (Index p = team_.rank(); p < size_; p += team_.size()) x[p] *= reciprocal(pivot_[p]);
    for (Index p = size_ - 1; p >= 0; --p) {
      team_.sync();
      const double* const row = weights_ + p * size_;
      double inflow = 0;
      for (Index k = p + 1 + team_.rank(); k < size_; k += team_.size()) inflow += row[k] * x[k];
      inflow = reduce_(inflow, Sum{});
      if (team_.rank() == 0) x[p] += inflow * reciprocal(pivot_[p]);
    }
    team_.sync();
  }

 private:
  static constexpr int tile_rows = 4, tile_cols = 4;  // of a lane

  KANTORCH_DEVICE static double reciprocal(double x) {
    return x > std::numeric_limits<double>::min() ? 1 / x : 0;
  }

  // Point p leaves; of the weights that this adds to, those of the points before `end`.
  KANTORCH_DEVICE void eliminate(Index p, Index end) {
    const double* const row = weights_ + p * size_;
    double pivot = 0;
    for (Index k = p + 1 + team_.rank(); k < size_; k += team_.size()) pivot += row[k];
    pivot = reduce_(pivot, Sum{}) + ground_[p];
    if (!(pivot > floor_[p])) pivot = 0;
    if (team_.rank() == 0) pivot_[p] = pivot;
    const double inverse = reciprocal(pivot);
    for (Index q = p + 1 + team_.warp(); q < end; q += team_.warps()) {
      const double share = row[q] * inverse;
      if (share == 0) continue;
      double* const to = weights_ + q * size_;
      for (Index k = q + 1 + team_.lane(); k < size_; k += warp_size) to[k] += share * row[k];
      if (team_.lane() == 0) {
        floor_[q] += share * floor_[p];
        ground_[q] += share * ground_[p];
      }
    }
    team_.sync();
  }

  // W_ik += sum_p x[p]_i y[p]_k over p < depth, for first <= i < k. A warp takes a tile of rows and columns.
  KANTORCH_DEVICE void rank_update(Index first, Index depth, const double* x, const double* y) {
    constexpr Index width = tile_cols * warp_size;
    const Index groups = (size_ - first + tile_rows - 1) / tile_rows;
    const Index chunks = (size_ - first + width - 1) / width;
    for (Index tile = team_.warp(); tile < groups * chunks; tile += team_.warps()) {
      const Index i = first + tile / chunks * tile_rows, k = first + tile % chunks * width;
      if (k + width <= i + 1) continue;  // below the diagonal
      double total[tile_rows][tile_cols] = {};
      for (Index p = 0; p < depth; ++p) {
        double xs[tile_rows], ys[tile_cols];
        KANTORCH_UNROLL
        for (int r = 0; r < tile_rows; ++r) xs[r] = x[p * size_ + inside(i + r)];
        KANTORCH_UNROLL
        for (int c = 0; c < tile_cols; ++c)
          ys[c] = y[p * size_ + inside(k + c * warp_size + team_.lane())];
        KANTORCH_UNROLL
        for (int r = 0; r < tile_rows; ++r) {
          KANTORCH_UNROLL
          for (int c = 0; c < tile_cols; ++c) total[r][c] += xs[r] * ys[c];
        }
      }
      KANTORCH_UNROLL
      for (int r = 0; r < tile_rows; ++r) {
        KANTORCH_UNROLL
        for (int c = 0; c < tile_cols; ++c) {
          const Index to = k + c * warp_size + team_.lane();
          if (i + r < to && to < size_) weights_[(i + r) * size_ + to] += total[r][c];
        }
      }
    }
  }

  KANTORCH_DEVICE Index inside(Index k) const { return k < size_ ? k : size_ - 1; }

  Team& team_;
  TeamReduce<Team>& reduce_;
  const Index size_;
  double* const weights_;  // size x size, of which only the part above the diagonal is used
  double* const ground_;
  double* const floor_;
  double* const pivot_;
  double* const panel_;
};

}  // namespace kantorch::cuda
