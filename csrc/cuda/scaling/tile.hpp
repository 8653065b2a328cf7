// How a kernel matrix lies in the registers of a block.
#pragma once

#include "cuda/runtime/collective.hpp"

namespace kantorch::cuda {

// The warps hold strips of rows, one below the other. In a warp, `RowLanes` lanes stand one below the other and the
// rest side by side, each with LaneRows x LaneCols entries that lie together. Sums over rows and columns are scattered
// over the lanes that made them: so each lane has some rows and columns of its own, whose scalings it computes.
template <int Warps, int RowLanes, int LaneRows, int LaneCols>
struct Tile {
  static constexpr int warps = Warps;
  static constexpr int threads = Warps * warp_size;
  static constexpr int row_lanes = RowLanes;
  static constexpr int col_lanes = warp_size / RowLanes;
  static constexpr int lane_rows = LaneRows;
  static constexpr int lane_cols = LaneCols;
  static constexpr int rows = Warps * RowLanes * LaneRows;
  static constexpr int cols = col_lanes * LaneCols;
  static constexpr int own_rows = LaneRows / col_lanes;
  static constexpr int own_cols = LaneCols / RowLanes;
  static_assert(own_rows > 0 && own_cols > 0);

  KANTORCH_DEVICE static int first_row(int warp, int lane) {
    return (warp * row_lanes + lane / col_lanes) * lane_rows;
  }
  KANTORCH_DEVICE static int first_col(int lane) { return lane % col_lanes * lane_cols; }
  KANTORCH_DEVICE static int own_row(int warp, int lane) {
    return first_row(warp, lane) + first_of<lane_rows, col_lanes, 1>(lane);
  }
  KANTORCH_DEVICE static int own_col(int lane) {
    return first_col(lane) + first_of<lane_cols, row_lanes, col_lanes>(lane);
  }
};

}  // namespace kantorch::cuda
