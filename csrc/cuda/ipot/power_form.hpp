// IPOT's steps by products alone, on a power of the kernel that a block holds in its registers.
//
// Relative to references f0, g0 the plan after step t is a_i U_i E_ij V_j b_j with E = exp(-t R), R_ij = C_ij / beta -
// f0_i - g0_j, and 1 / U_i = s_i, 1 / V_j = c_j are the sums that a step computes. K = exp(-R) is in shared memory, where
// each lane reads its own part, and a step begins with E = E K: three multiplications an entry and no exponential.
//
// As on the CPU (cpu/ipot/kernel.hpp), entries of E that underflow stay 0 and rounding adds up in E; both are bounded by
// making E and K anew, from potentials in double, after a limited number of steps or a limited change of s and c.
#pragma once

#include "cuda/ipot/iterate.hpp"
#include "cuda/scaling/tile.hpp"

namespace kantorch::cuda {

// Powers of 2. With sums in [2^-top, 2^top], top = reach + slack, and entries of E that grew by at most 2^growth since
// they underflowed below 2^-126 (2^-1022), a lost entry is at most 2^(2 top + growth - 126) < 1e-9 of a sum (2^(2 top +
// growth - 1022)).
template <class T>
struct PowerLimits;
template <>
struct PowerLimits<float> {
  static constexpr int reach = 30, slack = 8, growth = 18;
  static constexpr int steps = 64;  // the error of K in float, 2^-24, is multiplied by them
};
template <>
struct PowerLimits<double> {
  static constexpr int reach = 200, slack = 60, growth = 200;
  static constexpr int steps = 256;
};

template <class Team, class T, class Shape>
class IpotPower {
 public:
  using Iterate = IpotIterate<Team, T>;
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE explicit IpotPower(Iterate& iterate)
      : iterate_(iterate),
        passes_(iterate.passes),
        parts_(passes_.team.template shared<T>(part_count())),
        kernel_(passes_.team.template shared<T>(entries * Shape::threads)),
        warp_(passes_.team.warp()),
        lane_(passes_.team.lane()) {}

  static KANTORCH_BOTH constexpr Index bytes() {
    return shared_bytes<T>(part_count()) + shared_bytes<T>(entries * Shape::threads);
  }

  // For an iterate that starts anew.
  KANTORCH_DEVICE void restart() { next_store_ = 0; }

  // Steps until t is `last`. E is only held between here and there, so that what is done elsewhere has its registers.
  KANTORCH_DEVICE void advance(Index last) {
    while (iterate_.t < last) {
      if (iterate_.t >= next_store_) {
        Outcome outcome = build() ? Outcome::made : Outcome::failed;
        while (outcome == Outcome::made && iterate_.t < last) outcome = multiply();
        if (age_ > 0) finish();
        if (outcome == Outcome::failed) {
          next_store_ = 2 * iterate_.t + 8;
        } else {
          if (outcome == Outcome::made_last && age_ < worth_storing)
            next_store_ = iterate_.t + worth_storing;
          continue;
        }
      }
      iterate_.log_step();
    }
  }

 private:
  // After `made_last` E and K must be made anew; a step that failed has changed nothing but E.
  enum class Outcome { made, made_last, failed };
  using Limits = PowerLimits<T>;

  static constexpr int entries = Shape::lane_rows * Shape::lane_cols;
  static constexpr int fewest_steps = 4;  // a build for fewer does not pay
  static constexpr int worth_storing = 6;
  // In turns, as in TeamReduce: the columns' sums of each warp, and how far its rows' sums are out of range.
  static constexpr int part = Shape::cols + 1;
  static KANTORCH_BOTH constexpr Index part_count() {
    return Shape::warps == 1 ? 0 : 2 * Shape::warps * part;
  }

  // Entries of K that are loaded at once, 16 bytes; lanes lie side by side, so that no two of them want the same bank.
  static constexpr int wide = 16 / sizeof(T);
  static_assert(Shape::lane_cols % wide == 0);
  struct alignas(16) Wide {
    T x[wide];
  };
  KANTORCH_DEVICE Index place(int r, int c) const {
    const int entry = r * Shape::lane_cols + c;
    return (static_cast<Index>(entry / wide) * Shape::threads + passes_.team.rank()) * wide +
           entry % wide;
  }

  static KANTORCH_BOTH constexpr T power(int exponent) {
    T x = 1;
    for (int k = 0; k < exponent; ++k) x *= 2;
    return x;
  }

  // False if E and K would be of no use.
  KANTORCH_DEVICE bool build() {
    Team& team = passes_.team;
    const double t = static_cast<double>(iterate_.t);
    passes_.rate = iterate_.rate;
    for (Index i = team.rank(); i < passes_.n; i += team.size())
      passes_.f[i] = iterate_.f[i] / fmax(t, 1.0);
    for (Index j = team.rank(); j < passes_.m; j += team.size())
      passes_.g[j] = t > 0 ? iterate_.g[j] / t : iterate_.g[j] - iterate_.g_last[j];
    team.sync();
    if (!(t > 0)) passes_.bound_rows();

    // K, and how much E grows in a step at most. Entries without mass on both sides do not grow.
    const int row = Shape::first_row(warp_, lane_), col = Shape::first_col(lane_);
    double growth = 0;
    KANTORCH_ROLL
    for (int r = 0; r < Shape::lane_rows; ++r) {
      KANTORCH_ROLL
      for (int c = 0; c < Shape::lane_cols; ++c) {
        const double x = exponent(row + r, col + c);
        growth = fmax(growth, x);
        kernel_[place(r, c)] = exponential<T>(team, t * x);
      }
    }
    // Registers have no addresses, so loops over them are unrolled; those that make exponentials are not.
    for_entries([&](int r, int c, T x) { power_[r][c] = x; });
    KANTORCH_ROLL
    for (int r = 0; r < Shape::lane_rows; ++r) {
      KANTORCH_ROLL
      for (int c = 0; c < Shape::lane_cols; ++c)
        kernel_[place(r, c)] = exponential<T>(team, exponent(row + r, col + c));
    }

    constexpr double log_2 = 0.6931471805599453;
    growth = passes_.reduce(growth, Max{}) / log_2;
    limit_ = Limits::steps;
    if (growth * limit_ > Limits::growth) limit_ = static_cast<int>(Limits::growth / growth);
    age_ = 0;

    // 1 / U_t, 1 / V_t and the extrapolation b_j V_t^2 / V_{t-1} of the columns' scalings.
    const int own_row = Shape::own_row(warp_, lane_), own_col = Shape::own_col(lane_);
    constexpr T reach = power(Limits::reach);
    bool usable = limit_ >= fewest_steps;
    for (int k = 0; k < Shape::own_rows; ++k) {
      s_[k] = s_last_[k] = 1;
      a_[k] = own_row + k < passes_.n ? static_cast<T>(passes_.a[own_row + k]) : T(0);
    }
    for (int k = 0; k < Shape::own_cols; ++k) {
      c_[k] = c_last_[k] = 1;
      b_[k] = own_w_[k] = 0;
      const Index j = own_col + k;
      if (j >= passes_.m) continue;
      const double g = iterate_.g[j] - t * passes_.g[j];
      const double next = 2 * iterate_.g[j] - iterate_.g_last[j] - (t + 1) * passes_.g[j];
      c_[k] = exponential<T>(team, -g);
      b_[k] = static_cast<T>(passes_.b[j]);
      own_w_[k] = static_cast<T>(passes_.b[j] * static_cast<double>(exponential<T>(team, next)));
      usable &= own_w_[k] <= reach;
    }
    spread_columns();
    usable = !passes_.reduce.any(!usable);
    team.sync();  // all have read the references
    return usable;
  }

  // Writes the iterate.
  KANTORCH_DEVICE void finish() {
    const double now = static_cast<double>(iterate_.t), before = now - 1;
    const int row = Shape::own_row(warp_, lane_), col = Shape::own_col(lane_);
    for (int k = 0; k < Shape::own_rows; ++k) {
      const Index i = row + k;
      if (i >= passes_.n) continue;
      iterate_.f[i] = now * passes_.f[i] - log(static_cast<double>(s_[k]));
      iterate_.f_last[i] = before * passes_.f[i] - log(static_cast<double>(s_last_[k]));
    }
    for (int k = 0; k < Shape::own_cols; ++k) {
      const Index j = col + k;
      if (warp_ != 0 || j >= passes_.m) continue;
      iterate_.g[j] = now * passes_.g[j] - log(static_cast<double>(c_[k]));
      iterate_.g_last[j] = before * passes_.g[j] - log(static_cast<double>(c_last_[k]));
    }
    passes_.team.sync();
  }

  // -R, and 0 beyond the problem, where nothing has mass.
  KANTORCH_DEVICE double exponent(Index i, Index j) const {
    if (i >= passes_.n || j >= passes_.m) return 0;
    const double x = passes_.f[i] - passes_.scaled(i, j) + passes_.g[j];
    return passes_.a[i] > 0 || passes_.b[j] > 0 ? x : fmin(x, 0.0);
  }

  // Calls body(r, c, K_rc).
  template <class Body>
  KANTORCH_DEVICE void for_entries(Body body) const {
    KANTORCH_UNROLL
    for (int r = 0; r < Shape::lane_rows; ++r) {
      KANTORCH_UNROLL
      for (int c = 0; c < Shape::lane_cols; c += wide) {
        const Wide k = *reinterpret_cast<const Wide*>(kernel_ + place(r, c));
        KANTORCH_UNROLL
        for (int s = 0; s < wide; ++s) body(r, c + s, k.x[s]);
      }
    }
  }

  // w, in the lanes that need it.
  KANTORCH_DEVICE void spread_columns() {
    for (int k = 0; k < Shape::own_cols; ++k) w_[k] = own_w_[k];
    gather<Shape::lane_cols, Shape::row_lanes, Shape::col_lanes>(passes_.team, w_);
  }

  // 0 within reach, 1 within slack, 2 beyond. NaN is beyond.
  KANTORCH_DEVICE static int beyond(T high, T low) {
    constexpr T reach = power(Limits::reach), top = power(Limits::reach + Limits::slack);
    if (high <= reach && low >= 1 / reach) return 0;
    return high <= top && low >= 1 / top ? 1 : 2;
  }
  KANTORCH_DEVICE int worst_of_warp(int x) const {
    if (passes_.team.ballot(x == 2) != 0) return 2;
    return passes_.team.ballot(x == 1) != 0 ? 1 : 0;
  }

  KANTORCH_DEVICE Outcome multiply() {
    Team& team = passes_.team;
    T x[Shape::lane_rows];
    KANTORCH_UNROLL
    for (int r = 0; r < Shape::lane_rows; ++r) x[r] = 0;
    for_entries([&](int r, int c, T k) {
      power_[r][c] *= k;
      x[r] += power_[r][c] * w_[c];
    });
    reduce_scatter<Shape::lane_rows, Shape::col_lanes, 1>(team, x, Sum{});
    T s[Shape::own_rows];
    int worst = 0;
    const int row = Shape::own_row(warp_, lane_), col = Shape::own_col(lane_);
    for (int k = 0; k < Shape::own_rows; ++k) {
      s[k] = row + k < passes_.n ? x[k] : T(1);
      const int far = beyond(s[k], s[k]);
      worst = worst < far ? far : worst;
      x[k] = a_[k] / s[k];
    }
    gather<Shape::lane_rows, Shape::col_lanes, 1>(team, x);

    T y[Shape::lane_cols];
    KANTORCH_UNROLL
    for (int c = 0; c < Shape::lane_cols; ++c) {
      y[c] = 0;
      KANTORCH_UNROLL
      for (int r = 0; r < Shape::lane_rows; ++r) y[c] += power_[r][c] * x[r];
    }
    reduce_scatter<Shape::lane_cols, Shape::row_lanes, Shape::col_lanes>(team, y, Sum{});
    worst = worst_of_warp(worst);
    if constexpr (Shape::warps > 1) add_up_warps(y, &worst);
    T w[Shape::own_cols];
    for (int k = 0; k < Shape::own_cols; ++k) {
      if (col + k >= passes_.m) y[k] = 1;
      const T ratio = c_[k] / (y[k] * y[k]);
      const int far = beyond(ratio < y[k] ? y[k] : ratio, y[k]);
      worst = worst < far ? far : worst;
      w[k] = b_[k] * ratio;
    }
    // Every warp has all columns, and the same ones in each of its lanes.
    worst = worst_of_warp(worst);
    if (worst == 2) return Outcome::failed;
    ++age_;
    ++iterate_.t;
    for (int k = 0; k < Shape::own_rows; ++k) {
      s_last_[k] = s_[k];
      s_[k] = s[k];
    }
    for (int k = 0; k < Shape::own_cols; ++k) {
      c_last_[k] = c_[k];
      c_[k] = y[k];
      own_w_[k] = w[k];
    }
    spread_columns();
    return age_ < limit_ && worst == 0 ? Outcome::made : Outcome::made_last;
  }

  KANTORCH_DEVICE void add_up_warps(T (&y)[Shape::lane_cols], int* worst) {
    turn_ ^= 1;
    T* const parts = parts_ + turn_ * Shape::warps * part;
    T* const own = parts + warp_ * part;
    const int col = Shape::own_col(lane_);
    for (int k = 0; k < Shape::own_cols; ++k) own[col + k] = y[k];
    if (lane_ == 0) own[Shape::cols] = static_cast<T>(*worst);
    passes_.team.sync();
    for (int k = 0; k < Shape::own_cols; ++k) y[k] = parts[col + k];
    T most = parts[Shape::cols];
    for (int warp = 1; warp < Shape::warps; ++warp) {
      const T* const other = parts + warp * part;
      for (int k = 0; k < Shape::own_cols; ++k) y[k] += other[col + k];
      most = most < other[Shape::cols] ? other[Shape::cols] : most;
    }
    *worst = static_cast<int>(most);
  }

  Iterate& iterate_;
  Passes& passes_;
  T* const parts_;
  T* const kernel_;
  const int warp_;
  const int lane_;
  T power_[Shape::lane_rows][Shape::lane_cols];
  T w_[Shape::lane_cols];
  T s_[Shape::own_rows], s_last_[Shape::own_rows], a_[Shape::own_rows];  // of the lane's own rows
  T c_[Shape::own_cols], c_last_[Shape::own_cols];                       // of its own columns
  T b_[Shape::own_cols], own_w_[Shape::own_cols];
  int turn_ = 0;
  int age_ = 0;           // steps since E and K were made
  int limit_ = 0;         // after so many they are made anew
  Index next_store_ = 0;  // the step before which they are not, as they were of no use
};

}  // namespace kantorch::cuda
