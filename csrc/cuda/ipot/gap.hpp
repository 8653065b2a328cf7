// How far a plan of IPOT is from the optimum, and what it is measured by. As on the CPU (cpu/ipot/ipot.cpp).
#pragma once

#include "core/ipot.hpp"
#include "cuda/scaling/dual_value.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch::cuda {

// Costs and masses at the end of the range: the differences of larger costs and potentials may overflow, and the
// exponentials of a plan of less or more mass, 1 / mass in size, are clamped.
constexpr double largest_cost = 0x1p1020, smallest_mass = 1e-278, largest_mass = 1e300;

template <class Team, class T>
class IpotGap {
 public:
  using Passes = GibbsPasses<Team, T>;

  // `price` and `g_new` are scratch of n and of m numbers.
  KANTORCH_DEVICE IpotGap(const ScalingProblem<T>& problem, Index k, const Masses& masses,
                          Passes& passes, double* price, double* g_new, const ScalingResult& result)
      : problem_(problem),
        k_(k),
        masses_(masses),
        passes_(passes),
        price_(price),
        g_new_(g_new),
        result_(result),
        fixed_(!(problem.tol > 0)) {}

  // Sets beta from the costs if it is not given: a tenth of their mean above the smallest, over points with mass.
  KANTORCH_DEVICE double choose_step() {
    double beta = problem_.strength == nullptr ? 0 : problem_.strength[k_];
    const bool given = beta > 0;
    if (fixed_ && given) return beta;
    const CostRange whole = passes_.cost_range();
    CostRange range = whole;
    spread = whole_spread = whole.high - whole.low;
    lowest = whole.low;
    largest = whole.size();
    double limit = infinity;
    if (!fixed_) limit = passes_.narrow_below_voids({0, least_share_below, tried}, &range);
    near = limit < infinity;
    if (near) spread = range.high - range.low;
    exponent = range.size();
    if (!fixed_)
      spread = without_tail(spread, [&](double height) {
        const CostExcess below = passes_.cost_excess(range.low, range.low + height);
        return below.mean > 0 ? below.share : 0;
      });
    if (given && !near) return beta;
    const auto excess = passes_.cost_excess(whole.low, limit);
    near_most = range.high + (range.high - range.low);
    near_half = range.half();
    if (!given) beta = excess.mean > 0 ? 0.1 * excess.mean : 1;  // any, if the cost is constant
    return beta;
  }

  // The result of F and G of the passes with the price of the last step, and the larger of the two errors that are compared with tol: the gap counts where
  // the marginals are good enough, and at the `last` time.
  KANTORCH_DEVICE double write(double eps, bool last) {
    error = write_result(passes_, masses_, eps, k_, result_);
    copy_value();
    converged = false;
    // Where all costs are equal, every plan of these marginals is optimal, and the gap is rounding.
    if (fixed_ || !(spread > 0) || !(error <= problem_.tol || last)) return error;
    constexpr double top = std::numeric_limits<double>::max();
    const double linear = result_.value_linear[k_];
    const double scale = fmax(masses_.a * spread, linear - masses_.a * lowest);
    double bound = best_bound(linear - problem_.tol * scale);
    // Also below 0, where mass that the plan lacks or has too much pays a large constant of the costs.
    const double gap = fabs(linear - bound);
    converged = error <= problem_.tol && gap <= problem_.tol * (masses_.a * whole_spread);
    double worst = error;
    if (!(gap <= problem_.tol * scale)) worst = fmax(error, gap / scale);
    if (!(scale <= top && worst <= top)) worst = infinity;
    const Index dims = problem_.cost.points.given() ? problem_.cost.points.dims : 0;
    if (dims > 0) bound = below_rounded_distances<T>(bound, masses_.a, dims);
    if (passes_.team.rank() == 0) result_.bound[k_] = bound;
    return worst;
  }

  KANTORCH_DEVICE void copy_value() const {
    if (passes_.team.rank() == 0) result_.value[k_] = result_.value_linear[k_];
    passes_.team.sync();
  }

  // Costs below a void alone make beta and the spread, which the gap is measured by; a plan of them pays less than
  // `near_most`.
  bool near = true;
  double near_most = 0, near_half = 0;
  // Half the range below the last void, if there was no plan of those costs alone.
  double tried = -1;
  // Of the costs without a long tail; and of all, which has to do where rounding allows no better.
  double spread = 0, whole_spread = 0;
  bool converged = false;          // by the whole spread, as far as the last result tells
  double lowest = 0, largest = 0;  // the smallest cost, and the largest size
  double exponent = 0;             // the largest size of those that make the spread
  double error = 0;                // of the marginals as they were written last

 private:
  // From the prices of the last step, whose error falls as fast as that of the plan, and from the potentials, the mean of
  // all steps, where it falls like 1 / t.
  KANTORCH_DEVICE double best_bound(double sufficient) {
    DualValue<Team, T> dual(passes_.team, passes_.reduce, passes_.cost, passes_.n, passes_.m,
                            problem_.a[k_], problem_.b[k_], g_new_);
    double bound = -infinity;
    for (int from = 0; from < 2 && !(bound >= sufficient); ++from) {
      bound = fmax(bound, dual(from == 0 ? price_ : result_.f + k_ * passes_.n));
      passes_.team.sync();
    }
    return bound;
  }

  const ScalingProblem<T>& problem_;
  const Index k_;
  const Masses masses_;
  Passes& passes_;
  double* const price_;
  double* const g_new_;
  const ScalingResult& result_;
  const bool fixed_;
};

}  // namespace kantorch::cuda
