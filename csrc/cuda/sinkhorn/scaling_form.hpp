// Sinkhorn's iteration in its stabilised scaling form, on a kernel that a block holds in its registers.
//
// K_ij = exp(F_i + G_j - rate C_ij), and scalings u, v with P_ij = a_i u_i K_ij b_j v_j are iterated by products with K:
// two multiply-adds an entry and no exponential. When they leave a safe range the iteration is made again in the log
// domain and K is built, with u = v = 1, from the new potentials (Schmitzer, SIAM J. Sci. Comput. 41, 2019).
#pragma once

#include "cuda/scaling/gibbs_passes.hpp"
#include "cuda/scaling/tile.hpp"

namespace kantorch::cuda {

// An entry of K that underflowed was below e^-87 (float) or e^-708 (double), so its part of a row sum that is 1 was below
// e^(2 scaling_bound - 87) = 4e-21 or e^(2 scaling_bound - 708).
template <class T>
constexpr double scaling_bound = sizeof(T) == sizeof(float) ? 20 : 200;
// exp(scaling_bound), in T
template <class T>
constexpr T largest_scaling = sizeof(T) == sizeof(float) ? T(4.8516520e8) : T(7.2259737681257e86);

template <class Team, class T, class Shape>
class ScalingForm {
 public:
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE explicit ScalingForm(Passes& passes)
      : passes_(passes),
        parts_(passes.team.template shared<T>(part_count())),
        stage_(passes.team.template shared<T>(stage_count)),
        warp_(passes.team.warp()),
        lane_(passes.team.lane()) {}

  static KANTORCH_BOTH constexpr Index bytes() {
    return shared_bytes<T>(part_count()) + shared_bytes<T>(stage_count);
  }

  // Starts from the potentials of the passes, which the form owns until `finish`. The next iteration needs G only.
  KANTORCH_DEVICE void start() {
    stored_ = settled_ = false;
    fresh_ = true;
  }

  // One iteration, rows first. `error` is the L1 error of the marginals of the plan before it, columns after the row
  // update; infinite if it is not known.
  KANTORCH_DEVICE void step(double omega, double* error) {
    *error = infinity;
    if (!stored_) {
      if (fresh_) {
        // F only has to keep K in range; if the scalings then leave theirs, little is lost.
        passes_.bound_rows();
        fresh_ = false;
        settled_ = true;
        omega = 1;
      }
      if (!settled_) return log_step();
      build();
    }
    T v_before[Shape::own_cols];
    for (int k = 0; k < Shape::own_cols; ++k) v_before[k] = v_[k];
    if (iterate(static_cast<T>(omega), error)) return;
    // The iteration depends on the columns' scalings alone.
    for (int k = 0; k < Shape::own_cols; ++k) v_[k] = v_before[k];
    *error = infinity;
    keep_columns();
    stored_ = settled_ = false;
    log_step();
  }

  // Puts the scalings into the potentials.
  KANTORCH_DEVICE void finish() {
    if (!stored_) return;
    const int row = Shape::own_row(warp_, lane_);
    for (int k = 0; k < Shape::own_rows; ++k)
      if (row + k < passes_.n) passes_.f[row + k] += log(static_cast<double>(u_[k]));
    keep_columns();
    stored_ = false;
  }

 private:
  // In turns, as in TeamReduce: the columns' sums of each warp, its rows' error, and whether its scalings are in range.
  static constexpr int part = Shape::cols + 2;
  static constexpr Index stage_count = Shape::threads * Shape::lane_cols;
  static KANTORCH_BOTH constexpr Index part_count() {
    return Shape::warps == 1 ? 0 : 2 * Shape::warps * part;
  }

  KANTORCH_DEVICE void keep_columns() {
    const int col = Shape::own_col(lane_);
    for (int k = 0; k < Shape::own_cols; ++k)
      if (warp_ == 0 && col + k < passes_.m) passes_.g[col + k] += log(static_cast<double>(v_[k]));
    passes_.team.sync();
  }

  KANTORCH_DEVICE void log_step() {
    passes_.update_rows();
    double error;
    settled_ = passes_.update_columns(1, &error) < scaling_bound<T> / 2;
  }

  // Registers have no addresses, so loops over them are unrolled; entries are made one by one in a loop that is not, or
  // the compiler would hold hundreds of copies of the exponential, and handed over row by row.
  KANTORCH_DEVICE void build() {
    const int row = Shape::first_row(warp_, lane_), col = Shape::first_col(lane_);
    T* const own = stage_ + passes_.team.rank();
    KANTORCH_ROLL
    for (int r = 0; r < Shape::lane_rows; ++r) {
      KANTORCH_ROLL
      for (int c = 0; c < Shape::lane_cols; ++c) {
        const bool inside = row + r < passes_.n && col + c < passes_.m;
        own[c * Shape::threads] = inside ? static_cast<T>(passes_.entry(row + r, col + c)) : T(0);
      }
      KANTORCH_UNROLL
      for (int k = 0; k < Shape::lane_rows; ++k) {
        if (k != r) continue;
        KANTORCH_UNROLL
        for (int c = 0; c < Shape::lane_cols; ++c) kernel_[k][c] = own[c * Shape::threads];
      }
    }
    // Rows and columns beyond the problem have no weight, and scalings of 1.
    const int own_row = Shape::own_row(warp_, lane_), own_col = Shape::own_col(lane_);
    for (int k = 0; k < Shape::own_rows; ++k) {
      u_[k] = 1;
      a_[k] = own_row + k < passes_.n ? static_cast<T>(passes_.a[own_row + k]) : T(0);
      row_is_inside_[k] = own_row + k < passes_.n;
    }
    for (int k = 0; k < Shape::own_cols; ++k) {
      v_[k] = 1;
      b_[k] = own_col + k < passes_.m ? static_cast<T>(passes_.b[own_col + k]) : T(0);
      col_is_inside_[k] = own_col + k < passes_.m;
    }
    spread_columns();
    passes_.team.sync();  // all have read the potentials, which may now be written
    stored_ = true;
  }

  // w = b v, in the lanes that need it.
  KANTORCH_DEVICE void spread_columns() {
    for (int k = 0; k < Shape::own_cols; ++k) w_[k] = b_[k] * v_[k];
    gather<Shape::lane_cols, Shape::row_lanes, Shape::col_lanes>(passes_.team, w_);
  }

  // A scaling after its update, from the sum that it should bring to 1: x (x sum)^-omega.
  KANTORCH_DEVICE static T updated(T x, T sum, T omega) {
    if (omega == T(1)) return T(1) / sum;
    if constexpr (sizeof(T) == sizeof(float)) {
      return x * exp2f(-omega * log2f(x * sum));
    } else {
      return x * exp2(-omega * log2(x * sum));
    }
  }

  KANTORCH_DEVICE static bool is_safe(T x) {
    return x <= largest_scaling<T> && x >= 1 / largest_scaling<T>;
  }

  // False if a scaling left its range; v_ has then changed, w_ has not.
  KANTORCH_DEVICE bool iterate(T omega, double* error) {
    Team& team = passes_.team;
    T x[Shape::lane_rows];
    KANTORCH_UNROLL
    for (int r = 0; r < Shape::lane_rows; ++r) {
      x[r] = 0;
      KANTORCH_UNROLL
      for (int c = 0; c < Shape::lane_cols; ++c) x[r] += kernel_[r][c] * w_[c];
    }
    reduce_scatter<Shape::lane_rows, Shape::col_lanes, 1>(team, x, Sum{});
    T of_rows = 0, of_cols = 0;
    bool safe = true;
    KANTORCH_UNROLL
    for (int k = 0; k < Shape::own_rows; ++k) {
      const T next = row_is_inside_[k] ? updated(u_[k], x[k], omega) : T(1);
      const T off = u_[k] * x[k] - 1;
      of_rows += a_[k] * (off < 0 ? -off : off);
      safe &= is_safe(next);
      u_[k] = next;
      x[k] = a_[k] * next;
    }
    gather<Shape::lane_rows, Shape::col_lanes, 1>(team, x);

    T y[Shape::lane_cols];
    KANTORCH_UNROLL
    for (int c = 0; c < Shape::lane_cols; ++c) {
      y[c] = 0;
      KANTORCH_UNROLL
      for (int r = 0; r < Shape::lane_rows; ++r) y[c] += kernel_[r][c] * x[r];
    }
    reduce_scatter<Shape::lane_cols, Shape::row_lanes, Shape::col_lanes>(team, y, Sum{});
    of_rows = reduce_lanes(team, of_rows, Sum{});
    safe = team.ballot(safe) == ~0u;
    if constexpr (Shape::warps > 1) add_up_warps(y, &of_rows, &safe);
    KANTORCH_UNROLL
    for (int k = 0; k < Shape::own_cols; ++k) {
      const T next = col_is_inside_[k] ? updated(v_[k], y[k], omega) : T(1);
      const T off = v_[k] * y[k] - 1;
      of_cols += b_[k] * (off < 0 ? -off : off);
      safe &= is_safe(next);
      v_[k] = next;
    }
    // Every warp has all columns, and the same ones in each of its lanes.
    of_cols = reduce_lanes(team, of_cols, Sum{});
    if (team.ballot(safe) != ~0u) return false;
    *error = static_cast<double>(of_rows + of_cols);
    if (!(*error < infinity)) return false;
    spread_columns();
    return true;
  }

  KANTORCH_DEVICE void add_up_warps(T (&y)[Shape::lane_cols], T* error, bool* safe) {
    turn_ ^= 1;
    T* const parts = parts_ + turn_ * Shape::warps * part;
    T* const own = parts + warp_ * part;
    const int col = Shape::own_col(lane_);
    for (int k = 0; k < Shape::own_cols; ++k) own[col + k] = y[k];
    if (lane_ == 0) {
      own[Shape::cols] = *error;
      own[Shape::cols + 1] = *safe ? T(1) : T(0);
    }
    passes_.team.sync();
    for (int k = 0; k < Shape::own_cols; ++k) y[k] = parts[col + k];
    *error = parts[Shape::cols];
    *safe = parts[Shape::cols + 1] > 0;
    for (int warp = 1; warp < Shape::warps; ++warp) {
      const T* const other = parts + warp * part;
      for (int k = 0; k < Shape::own_cols; ++k) y[k] += other[col + k];
      *error += other[Shape::cols];
      *safe &= other[Shape::cols + 1] > 0;
    }
  }

  Passes& passes_;
  T* const parts_;
  T* const stage_;
  const int warp_;
  const int lane_;
  T kernel_[Shape::lane_rows][Shape::lane_cols];
  T w_[Shape::lane_cols];
  T u_[Shape::own_rows], a_[Shape::own_rows];  // of the lane's own rows
  T v_[Shape::own_cols], b_[Shape::own_cols];  // of its own columns
  bool row_is_inside_[Shape::own_rows];
  bool col_is_inside_[Shape::own_cols];
  int turn_ = 0;
  bool stored_ = false;
  bool fresh_ = false;    // no iteration since the start: F is not known
  bool settled_ = false;  // the last iteration in the log domain moved no potential far
};

}  // namespace kantorch::cuda
