// Rows of the plan in the registers of a block: they are there from when the sum of a row is taken until it is known, and
// then go into the columns' sums. So an entry is read, or computed from the points, and its exponential taken once an
// iteration.
#pragma once

#include <cmath>
#include <limits>

#include "cuda/runtime/collective.hpp"
#include "cuda/scaling/cost_at.hpp"
#include "cuda/scaling/lane_columns.hpp"
#include "cuda/scaling/streamed.hpp"

namespace kantorch::cuda {

// exp(F_i + G_j - rate C_ij) in units of log 2, as few instructions as may be. Potentials are rounded once, and `fits`
// says of which ones that costs no digit.
template <class T>
class HeldExponential;

// What cancels is taken off exactly: sums of whole numbers, and a product by a fused multiply-add.
template <>
class HeldExponential<float> {
 public:
  struct Potential {
    float whole;
    float part;
  };

  KANTORCH_DEVICE explicit HeldExponential(double rate)
      : whole_(static_cast<float>(rate * log2_e)),
        part_(static_cast<float>(rate * log2_e - static_cast<double>(whole_))) {}

  static KANTORCH_DEVICE bool fits(double x) { return fabs(x) < 1 << 21; }
  static KANTORCH_DEVICE Potential of(double x) {
    const double y = x * log2_e, whole = rint(y);
    return {static_cast<float>(whole), static_cast<float>(y - whole)};
  }
  static KANTORCH_DEVICE Potential nowhere() {
    return {-std::numeric_limits<float>::infinity(), 0};
  }

  template <class Team>
  KANTORCH_DEVICE float operator()(Team& team, Potential f, Potential g, float cost) const {
    return team.exp2(fmaf(-whole_, cost, f.whole + g.whole) + fmaf(-part_, cost, f.part + g.part));
  }
  // sum^-omega of a sum in range
  template <class Team>
  static KANTORCH_DEVICE float power(Team& team, double sum, double omega) {
    const auto x = static_cast<float>(sum);
    return omega == 1 ? 1 / x : team.exp2(static_cast<float>(-omega) * log2f(x));
  }

 private:
  static constexpr double log2_e = 1.4426950408889634;
  float whole_;
  float part_;
};

template <>
class HeldExponential<double> {
 public:
  using Potential = double;

  KANTORCH_DEVICE explicit HeldExponential(double rate) : rate_(rate) {}

  static KANTORCH_DEVICE bool fits(double x) { return fabs(x) < 1e300; }
  static KANTORCH_DEVICE Potential of(double x) { return x; }
  static KANTORCH_DEVICE Potential nowhere() { return -std::numeric_limits<double>::infinity(); }

  template <class Team>
  KANTORCH_DEVICE double operator()(Team&, Potential f, Potential g, double cost) const {
    return exp(f + g - rate_ * cost);
  }
  template <class Team>
  static KANTORCH_DEVICE double power(Team&, double sum, double omega) {
    return omega == 1 ? 1 / sum : pow(sum, -omega);
  }

 private:
  double rate_;
};

// A row is taken by `Warps` warps of the block, so that there are groups of these with a row each. Passes is GibbsPasses
// of T.
template <class Passes, class T, int Warps>
class HeldRows {
 public:
  static constexpr Index most_columns = most_held_columns<T> * Warps / streamed_warps;

  KANTORCH_DEVICE HeldRows(Passes& passes, double omega, const StreamedScratch& scratch)
      : passes_(passes),
        omega_(omega),
        exponential_(passes.rate),
        scratch_(scratch),
        group_(passes.team.block_warp() / Warps),
        rank_(passes.team.block_rank() % lanes),
        columns_(rank_, static_cast<int>(passes.m)),
        g_(reinterpret_cast<Potential*>(scratch.columns) + rank_) {}

  // Whether weights and potentials of the columns fit, which are taken over; to be called once before `update`.
  KANTORCH_DEVICE bool start() {
    bool bad = false;
    if (group_ == 0) {
      columns_.each([&](int k, int offset, bool is_there) {
        const Index j = rank_ + offset;
        const bool has_mass = is_there && passes_.b[j] > 0;
        const double potential = has_mass ? passes_.g[j] : 0;
        bad |= has_mass && !(Exponential::fits(potential) && passes_.b[j] >= least_weight);
        g_[k * lanes] =
            has_mass ? Exponential::of(potential + scratch_.log_b[j]) : Exponential::nowhere();
      });
    }
    return !(reduce_block(passes_.team, bad ? 1.0 : 0.0, Max{}, next_sums()) > 0);  // and all see g
  }

  // Updates F of the rows from first to last, and writes what is a_i exp(F_i + G_j - rate C_ij) b_j then, summed over
  // them.
  template <class Cost>
  KANTORCH_DEVICE void update(const Cost& at, Index first, Index last, double* column_sums) {
    T sum[held] = {}, costs[held] = {}, entries[held] = {};
    is_new_ = true;
    Row next = row_of(first + group_, last);
    read_costs(at, next.index, costs);
    for (Index row = first; row < last;) {
      T part = 0;
      columns_.each([&](int k, int, bool) {
        entries[k] = exponential_(passes_.team, next.f, g_[k * lanes], costs[k]);
        part += entries[k];
      });
      // The next costs are asked for before the sum of the row is waited for.
      const Row now = next;
      row += groups;
      if (row < last) {
        next = row_of(row + group_, last);
        read_costs(at, next.index, costs);
      }
      const double total = sum_row(part);
      const T factor = Exponential::power(passes_.team, total, omega_);
      const auto weight = static_cast<T>(now.weight * static_cast<double>(factor));
      const bool good = now.fits && total > least_sum && total < most_sum &&
                        (!(now.weight > 0) || weight >= least_weight);
      if (good && weight > 0) {
        columns_.each([&](int k, int, bool) { sum[k] += weight * entries[k]; });
      }
      keep(now, total, good);
      if (kept_ == warp_size || row >= last) {
        for (int group = 0; group < groups; ++group) {
          if (group == group_) add_kept(column_sums, sum);
          passes_.team.sync_block();
          is_new_ = false;
        }
        clear(sum);
        update_kept();
      }
    }
  }

 private:
  using Exponential = HeldExponential<T>;
  using Potential = typename Exponential::Potential;

  static constexpr int held = held_entries<T>;
  static constexpr int groups = streamed_warps / Warps;
  static constexpr int lanes = Warps * warp_size;
  // Weights, and the sums that they are divided by, whose products with exponentials of T stay in its range.
  static constexpr double least_weight = 1e-30, least_sum = 1e-15, most_sum = 1e15;

  struct Row {
    Index index;
    double weight;
    Potential f;
    bool is_there;
    bool fits;
  };

  KANTORCH_DEVICE static void clear(T (&sum)[held]) {
    KANTORCH_UNROLL
    for (int k = 0; k < held; ++k) sum[k] = 0;
  }

  KANTORCH_DEVICE Row row_of(Index row, Index last) const {
    const bool is_there = row < last;
    const Index i = is_there ? row : last - 1;
    const double f = passes_.f[i];
    return {i, is_there ? passes_.a[i] : 0, Exponential::of(f), is_there, Exponential::fits(f)};
  }

  template <class Cost>
  KANTORCH_DEVICE void read_costs(const Cost& at, Index i, T (&costs)[held]) const {
    at.row(i, columns_, costs);
  }

  KANTORCH_DEVICE double sum_row(T part) {
    auto& team = passes_.team;
    const auto sum = static_cast<double>(reduce_lanes(team, part, Sum{}));
    if constexpr (Warps == 1) {
      return sum;
    } else {
      double* const sums = next_sums();
      if (team.lane() == 0) sums[team.block_warp()] = sum;
      team.sync_block();
      double total = 0;
      KANTORCH_UNROLL
      for (int warp = 0; warp < Warps; ++warp) total += sums[group_ * Warps + warp];
      return total;
    }
  }

  // Lane k of the group remembers its k-th row, to take the logarithm of the sum at the same time as the others.
  KANTORCH_DEVICE void keep(const Row& row, double total, bool good) {
    if (!good && row.is_there) apart_ |= 1u << kept_;
    if (kept_ == 0) first_ = row.index;
    if (kept_ == rank_ && row.is_there) {
      index_ = row.index;
      total_ = total;
    }
    ++kept_;
  }

  // What the group has of the columns' sums. Rows whose sum, or a number of it, is out of range go through the cost again.
  KANTORCH_DEVICE void add_kept(double* column_sums, const T (&sum)[held]) {
    double* const own_sums = column_sums + rank_;
    columns_.each([&](int k, int offset, bool is_there) {
      if (is_there)
        own_sums[offset] = (is_new_ ? 0 : own_sums[offset]) + static_cast<double>(sum[k]);
    });
    KANTORCH_ROLL
    for (int k = 0; k < warp_size; ++k) {
      if ((apart_ >> k & 1) == 0) continue;
      const Index i = first_ + k * groups;
      const double plain = passes_.row_potential(i), weight = passes_.a[i];
      const double f = Passes::relaxed(passes_.f[i], plain, omega_);
      if (k == rank_) total_ = plain;
      KANTORCH_ROLL
      for (Index j = rank_; j < passes_.m && weight > 0; j += lanes) {
        const double b = passes_.b[j];
        if (b > 0)
          column_sums[j] += weight * b * passes_.entry_of(f + passes_.g[j], passes_.cost(i, j));
      }
    }
  }

  KANTORCH_DEVICE void update_kept() {
    if (index_ >= 0) {
      double& f = passes_.f[index_];
      const bool is_plain = (apart_ >> rank_ & 1) != 0;
      passes_.update(passes_.a[index_], f, is_plain ? total_ : f - log(total_), omega_);
    }
    index_ = -1;
    apart_ = 0;
    kept_ = 0;
  }

  // Taken in turns: before memory is written again, a sync has shown that everybody has read it.
  KANTORCH_DEVICE double* next_sums() {
    turn_ ^= 1;
    return scratch_.sums + turn_ * streamed_warps;
  }

  Passes& passes_;
  const double omega_;
  const Exponential exponential_;
  const StreamedScratch scratch_;
  const int group_;
  const int rank_;  // in the group
  const LaneColumns<held, lanes> columns_;
  Potential* const g_;  // G + log b of these, `lanes` apart
  bool is_new_ = true;  // nobody has written the columns' sums
  int turn_ = 0;
  // Rows of the group since the columns' sums were written: how many, the first, and as bits those that are out of range;
  // and that which this lane remembers, or -1.
  int kept_ = 0;
  Index first_ = 0;
  unsigned apart_ = 0;
  Index index_ = -1;
  double total_ = 0;  // its sum, or its potential if that is known
};

}  // namespace kantorch::cuda
