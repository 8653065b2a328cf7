// Passes of a team over the cost of its problem that stay in the log domain: safe for any cost, eps and weights.
//
// As on the CPU, potentials F, G are in units of eps and the weights have mass 1: P_ij = a_i b_j exp(F_i + G_j - rate
// C_ij). A warp takes a row, its lanes side by side in it; a lane takes a column. Sums are added up in double.
#pragma once

#include <limits>

#include "common/cost_range.hpp"
#include "cuda/runtime/team_reduce.hpp"
#include "cuda/scaling/cost_at.hpp"
#include "cuda/scaling/exponential.hpp"

namespace kantorch::cuda {

struct PlanSums {
  double mass;
  double cost;
};

constexpr double largest_potential = 1e300;
constexpr double infinity = std::numeric_limits<double>::infinity();

KANTORCH_DEVICE double clamp(double x) {
  return fmin(fmax(x, -largest_potential), largest_potential);
}

template <class Team, class T>
class GibbsPasses {
 public:
  // The vectors are the team's: a, f of n and b, g of m numbers.
  KANTORCH_DEVICE GibbsPasses(Team& team_, TeamReduce<Team>& reduce_, const CostOf<T>& cost_,
                              Index n_, Index m_, double* a_, double* b_, double* f_, double* g_)
      : team(team_), reduce(reduce_), cost(cost_), n(n_), m(m_), a(a_), b(b_), f(f_), g(g_) {}

  KANTORCH_DEVICE double scaled(Index i, Index j) const {
    return clamp(rate * static_cast<double>(cost(i, j)));
  }

  // F_i = -log sum_j b_j exp(G_j - rate C_ij), changed `omega` times as much.
  KANTORCH_DEVICE void update_rows(double omega = 1) {
    error = 0;
    for (Index i = team.warp(); i < n; i += team.warps()) {
      const double plain = row_potential(i);
      if (team.lane() == 0) update(a[i], f[i], plain, omega);
    }
    team.sync();
  }

  // G_j = -log sum_i a_i exp(F_i - rate C_ij). Returns the largest change; `error_before` is the L1 error of the marginals of
  // the plan before the iteration, columns after the row update.
  KANTORCH_DEVICE double update_columns(double omega, double* error_before) {
    double moved = 0;
    for (Index j = team.rank(); j < m; j += team.size())
      moved = fmax(moved, update(b[j], g[j], column_potential(j), omega));
    team.sync();
    *error_before = take_error();
    return reduce(moved, Max{});
  }

  // F, and then G, of points without mass alone, from the others' as they are: no error tells whether they are settled.
  KANTORCH_DEVICE void settle_massless() {
    for (Index i = team.warp(); i < n; i += team.warps()) {
      if (a[i] > 0) continue;
      const double plain = row_potential(i);
      if (team.lane() == 0) f[i] = plain;
    }
    team.sync();
    for (Index j = team.rank(); j < m; j += team.size())
      if (!(b[j] > 0)) g[j] = column_potential(j);
    team.sync();
  }

  // The limit of update_rows for small eps, F_i = min_j rate C_ij - G_j over b_j > 0: no exponent is above 0 then.
  KANTORCH_DEVICE void bound_rows() {
    for (Index i = team.warp(); i < n; i += team.warps()) {
      double low = infinity;
      for (Index j = team.lane(); j < m; j += warp_size)
        if (b[j] > 0) low = fmin(low, scaled(i, j) - g[j]);
      low = reduce_lanes(team, low, Min{});
      if (team.lane() == 0) f[i] = clamp(low);
    }
    team.sync();
  }

  // Potentials in other units.
  KANTORCH_DEVICE void rescale(double by) {
    for (Index i = team.rank(); i < n; i += team.size()) f[i] *= by;
    for (Index j = team.rank(); j < m; j += team.size()) g[j] *= by;
    team.sync();
  }

  // Row and column sums of `factor` <= 1 times the plan, its mass and <P, C>.
  KANTORCH_DEVICE PlanSums measure(double* row, double* col, double factor = 1) {
    double mass = 0, paid = 0;
    for (Index i = team.warp(); i < n; i += team.warps()) {
      double sum = 0, price = 0;
      const double weight = factor * a[i];
      if (a[i] > 0) {
        for (Index j = team.lane(); j < m; j += warp_size) {
          if (!(b[j] > 0)) continue;
          const T c = cost(i, j);
          const double p = weight * entry(i, j) * b[j];
          sum += p;
          price += p * static_cast<double>(c);
        }
      }
      sum = reduce_lanes(team, sum, Sum{});
      if (team.lane() == 0) {
        row[i] = sum;
        mass += sum;
      }
      paid += price;
    }
    for (Index j = team.rank(); j < m; j += team.size()) {
      double sum = 0;
      if (b[j] > 0) {
        for (Index i = 0; i < n; ++i)
          if (a[i] > 0) sum += factor * a[i] * entry(i, j);
      }
      col[j] = b[j] * sum;
    }
    const double all = reduce(mass, Sum{});
    return {all, reduce(paid, Sum{})};
  }

  // out_i = x_i sum_j E_ij y_j and out_j = y_j sum_i x_i E_ij, E_ij = exp(F_i + G_j - rate C_ij); `out` is neither x nor y.
  KANTORCH_DEVICE void multiply(const double* x, const double* y, double* out) {
    for (Index i = team.warp(); i < n; i += team.warps()) {
      double sum = 0;
      for (Index j = team.lane(); j < m; j += warp_size)
        if (x[i] != 0 && y[j] != 0) sum += entry(i, j) * y[j];
      sum = reduce_lanes(team, sum, Sum{});
      if (team.lane() == 0) out[i] = x[i] * sum;
    }
    team.sync();
  }
  KANTORCH_DEVICE void multiply_transposed(const double* x, const double* y, double* out) {
    for (Index j = team.rank(); j < m; j += team.size()) {
      double sum = 0;
      for (Index i = 0; i < n; ++i)
        if (x[i] != 0 && y[j] != 0) sum += x[i] * entry(i, j);
      out[j] = y[j] * sum;
    }
    team.sync();
  }

  // exp(F_i + G_j - rate C_ij), of costs as they are: clamped ones would make another plan.
  KANTORCH_DEVICE double entry(Index i, Index j) const { return entry_of(f[i] + g[j], cost(i, j)); }

  // With the largest cost below `limit` as its end.
  KANTORCH_DEVICE CostRange cost_range(double limit = infinity) {
    double least = infinity, most = -infinity;
    for (Index i = team.warp(); i < n; i += team.warps()) {
      if (!(a[i] > 0)) continue;
      for (Index j = team.lane(); j < m; j += warp_size) {
        if (!(b[j] > 0)) continue;
        const double c = static_cast<double>(cost(i, j));
        least = fmin(least, c);
        if (c < limit) most = fmax(most, c);
      }
    }
    const CostRange range{reduce(least, Min{}), reduce(most, Max{})};
    return range.low > range.high ? CostRange{} : range;
  }

  // Of the costs below `limit` over the same pairs, above `low`; 0 if there are none.
  KANTORCH_DEVICE CostExcess cost_excess(double low, double limit) {
    double sum = 0, count = 0, rows = 0, cols = 0;
    for (Index i = team.rank(); i < n; i += team.size()) rows += a[i] > 0 ? 1 : 0;
    for (Index j = team.rank(); j < m; j += team.size()) cols += b[j] > 0 ? 1 : 0;
    rows = reduce(rows, Sum{});
    const double share = 1 / (rows * reduce(cols, Sum{}));
    for (Index i = team.warp(); i < n; i += team.warps()) {
      if (!(a[i] > 0)) continue;
      for (Index j = team.lane(); j < m; j += warp_size) {
        const double c = static_cast<double>(cost(i, j));
        if (!(b[j] > 0 && c < limit)) continue;
        sum += (c - low) * share;
        count += share;
      }
    }
    sum = reduce(sum, Sum{});
    count = reduce(count, Sum{});
    return {count, limit < infinity ? sum / count : sum};
  }

  // Narrows the range of all costs to those below the lowest void in it, if there is one. Returns where the void ends,
  // infinite otherwise.
  KANTORCH_DEVICE double narrow_below_voids(const VoidSearch& search, CostRange* range) {
    double limit = infinity;
    CostRange now = *range, below;
    for (; now.half() > search.half; now = below) {
      const double end = void_end(now);
      if (!(end > now.low)) break;
      if (search.share > 0 && cost_excess(now.low, end).share < search.share) break;
      below = cost_range(end);
      if (search.share > 0 && !(below.half() > 0)) break;
      if (!(below.half() > search.tried)) break;
      if (!is_below_void(below, now)) continue;
      *range = below;
      limit = end;
    }
    return limit;
  }

  KANTORCH_DEVICE bool costs_are_finite() {
    bool bad = false;
    for (Index i = team.warp(); i < n; i += team.warps())
      for (Index j = team.lane(); j < m; j += warp_size)
        bad |= !std::isfinite(static_cast<double>(cost(i, j)));
    return !reduce.any(bad);
  }

  // -log sum_j b_j exp(G_j - rate C_ij), by a warp.
  KANTORCH_DEVICE double row_potential(Index i) {
    double top = -infinity;
    for (Index j = team.lane(); j < m; j += warp_size)
      if (b[j] > 0) top = fmax(top, g[j] - scaled(i, j));
    top = reduce_lanes(team, top, Max{});
    double sum = 0;
    for (Index j = team.lane(); j < m; j += warp_size)
      if (b[j] > 0) sum += b[j] * exponential<T>(team, g[j] - scaled(i, j) - top);
    return -(top + log(reduce_lanes(team, sum, Sum{})));
  }

  // -log sum_i a_i exp(F_i - rate C_ij), by a lane.
  KANTORCH_DEVICE double column_potential(Index j) {
    double top = -infinity;
    for (Index i = 0; i < n; ++i)
      if (a[i] > 0) top = fmax(top, f[i] - scaled(i, j));
    double sum = 0;
    for (Index i = 0; i < n; ++i)
      if (a[i] > 0) sum += a[i] * exponential<T>(team, f[i] - scaled(i, j) - top);
    return -(top + log(sum));
  }

  // exp(x - rate c)
  KANTORCH_DEVICE double entry_of(double x, T c) const {
    return static_cast<double>(exponential<T>(team, x - rate * static_cast<double>(c)));
  }

  // What becomes of a potential that is changed `omega` times as much as to `plain`.
  KANTORCH_DEVICE static double relaxed(double before, double plain, double omega) {
    return omega == 1 ? clamp(plain) : clamp(before + omega * (clamp(plain) - before));
  }

  // exp of a potential's change is the sum of its row or column before, relative to the weight. Returns |change|.
  KANTORCH_DEVICE double update(double weight, double& potential, double plain, double omega) {
    const double before = potential;
    potential = relaxed(before, plain, omega);
    if (weight > 0) error += weight * fabs(expm1((before - potential) / omega));
    return fabs(potential - before);
  }

  // The L1 error that updates of rows since the last call have shown.
  KANTORCH_DEVICE double take_error() {
    const double all = reduce(error, Sum{});
    error = 0;
    return all;
  }

  Team& team;
  TeamReduce<Team>& reduce;
  const CostOf<T> cost;
  const Index n, m;
  double* const a;
  double* const b;
  double* const f;
  double* const g;
  double rate = 1;
  double error = 0;  // that this lane has seen
};

}  // namespace kantorch::cuda
