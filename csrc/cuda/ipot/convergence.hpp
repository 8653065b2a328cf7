// IPOT to a tolerance on the marginals and on the gap, decided on the device for each problem by itself. As on the CPU
// (cpu/ipot/ipot.cpp), without Newton's method.
//
// All lanes of a block follow the same numbers, which all of them compute.
#pragma once

#include "core/ipot.hpp"
#include "cuda/ipot/iterate.hpp"
#include "cuda/scaling/dual_value.hpp"

namespace kantorch::cuda {

// Costs and masses at the end of the range: the differences of larger costs and potentials may overflow, and the
// exponentials of a plan of less or more mass, 1 / mass in size, are clamped.
constexpr double largest_cost = 0x1p1020, smallest_mass = 1e-278, largest_mass = 1e300;

template <class Team, class T, class Form>
class IpotConvergence {
 public:
  using Iterate = IpotIterate<Team, T>;
  using Passes = GibbsPasses<Team, T>;

  static KANTORCH_BOTH constexpr Index vector_count(Index n, Index m) { return n + m; }

  KANTORCH_DEVICE IpotConvergence(const ScalingProblem<T>& problem, Index k, const Masses& masses,
                                  Iterate& iterate, Form& form, double* vectors,
                                  const ScalingResult& result)
      : problem_(problem),
        k_(k),
        masses_(masses),
        iterate_(iterate),
        passes_(iterate.passes),
        form_(form),
        price_(vectors),
        g_new_(vectors + passes_.n),
        result_(result),
        fixed_(!(problem.tol > 0)) {}

  // Sets beta from the costs if it is not given: a tenth of their mean above the smallest, over points with mass.
  KANTORCH_DEVICE double choose_step() {
    beta_ = problem_.strength == nullptr ? 0 : problem_.strength[k_];
    const bool given = beta_ > 0;
    if (fixed_ && given) return beta_;
    const CostRange whole = passes_.cost_range();
    CostRange range = whole;
    spread_ = whole_spread_ = whole.high - whole.low;
    lowest_ = whole.low;
    largest_ = whole.size();
    double limit = infinity;
    if (!fixed_) limit = passes_.narrow_below_voids({0, least_share_below, tried_}, &range);
    near_ = limit < infinity;
    if (near_) spread_ = range.high - range.low;
    exponent_ = range.size();
    if (!fixed_)
      spread_ = without_tail(spread_, [&](double height) {
        const CostExcess below = passes_.cost_excess(range.low, range.low + height);
        return below.mean > 0 ? below.share : 0;
      });
    if (given && !near_) return beta_;
    const auto excess = passes_.cost_excess(whole.low, limit);
    near_most_ = range.high + (range.high - range.low);
    near_half_ = range.half();
    if (!given) beta_ = excess.mean > 0 ? 0.1 * excess.mean : 1;  // any, if the cost is constant
    return beta_;
  }

  KANTORCH_DEVICE Index made() const { return iterate_.t + before_; }

  // Writes the result but for n_iter and status; returns the status. There is one place that makes steps, because they are
  // compiled into it.
  KANTORCH_DEVICE Status solve(const double* g_init) {
    const Index max_iter = problem_.max_iter;
    start(g_init);
    for (Index check = first_check();;) {
      Status status;
      form_.advance(check - before_);
      const double worst = write(check == max_iter);
      if (fixed_) {
        status = Status::fixed_iterations;
      } else if (worst <= problem_.tol) {
        status = Status::converged;
      } else if (check == max_iter) {
        status = Status::max_iterations;
      } else if (near_ && has_no_plan(result_.value_linear[k_], masses_.a * near_most_,
                                      least_error_, check, max_iter)) {
        tried_ = near_half_;
        before_ = check;
        choose_step();
        start(g_init);
        check = first_check();
        continue;
      } else if (stalled(worst) || beyond()) {
        status = Status::precision_limit;
      } else {
        const Index next = check + (check / 8 < 8 ? 8 : check / 8);
        check = next < max_iter ? next : max_iter;
        continue;
      }
      if (status == Status::precision_limit && converged_) status = Status::converged;
      if (status != Status::converged && coarsen_result(passes_, masses_, eps(), k_, result_)) {
        status = Status::precision_limit;
        copy_value();
      }
      const double next = raise_strength(passes_, masses_, beta_, k_, result_);
      if (!(next > 0)) return status;
      beta_ = next;
      before_ = 0;
      start(g_init);
      check = first_check();
    }
  }

 private:
  static constexpr Index most_steps_beyond = 1000;

  KANTORCH_DEVICE void start(const double* g_init) {
    iterate_.start(beta_, g_init);
    form_.restart();
    best_ = least_error_ = 1e300;
    since_ = 0;
  }

  KANTORCH_DEVICE Index first_check() const {
    const Index most = problem_.max_iter;
    return fixed_ || most < before_ + 8 ? most : before_ + 8;
  }

  KANTORCH_DEVICE double eps() const { return beta_ / static_cast<double>(iterate_.t); }

  KANTORCH_DEVICE void copy_value() const {
    if (passes_.team.rank() == 0) result_.value[k_] = result_.value_linear[k_];
    passes_.team.sync();
  }

  // The result of the present iterate, and the larger of the two errors that are compared with tol: the gap counts where
  // the marginals are good enough, and at the `last` time.
  KANTORCH_DEVICE double write(bool last) {
    Team& team = passes_.team;
    // Near the end each step moves F by a dual optimum over beta.
    for (Index i = team.rank(); i < passes_.n; i += team.size()) {
      price_[i] = beta_ * (iterate_.f[i] - iterate_.f_last[i]);
      passes_.f[i] = iterate_.f[i];
    }
    for (Index j = team.rank(); j < passes_.m; j += team.size()) passes_.g[j] = iterate_.g[j];
    passes_.rate = rate_of(eps());
    team.sync();
    error_ = write_result(passes_, masses_, eps(), k_, result_);
    least_error_ = fmin(least_error_, error_);
    copy_value();
    converged_ = false;
    // Where all costs are equal, every plan of these marginals is optimal, and the gap is rounding.
    if (fixed_ || !(spread_ > 0) || !(error_ <= problem_.tol || last)) return error_;
    constexpr double top = std::numeric_limits<double>::max();
    const double linear = result_.value_linear[k_];
    const double scale = fmax(masses_.a * spread_, linear - masses_.a * lowest_);
    double bound = best_bound(linear - problem_.tol * scale);
    // Also below 0, where mass that the plan lacks or has too much pays a large constant of the costs.
    const double gap = fabs(linear - bound);
    converged_ = error_ <= problem_.tol && gap <= problem_.tol * (masses_.a * whole_spread_);
    double worst = error_;
    if (!(gap <= problem_.tol * scale)) worst = fmax(error_, gap / scale);
    if (!(scale <= top && worst <= top)) worst = infinity;
    const Index dims = problem_.cost.points.given() ? problem_.cost.points.dims : 0;
    if (dims > 0) bound = below_rounded_distances<T>(bound, masses_.a, dims);
    if (team.rank() == 0) result_.bound[k_] = bound;
    return worst;
  }

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

  // Whether rounding keeps the error up: it has not improved for long, and is as small as what the potentials lose. A
  // large error may rest on a plateau for thousands of steps and still fall.
  KANTORCH_DEVICE bool stalled(double error) {
    const Index t = iterate_.t;
    if (error < 0.95 * best_) {
      best_ = error;
      since_ = t;
    }
    const double rounding =
        (sizeof(T) == sizeof(float) ? 1e-5 : 1e-12) + 1e-14 * (exponent_ / eps());
    return t > 1000 && t > 3 * since_ && error <= rounding;
  }

  // Whether a plan of this error, or its bound, is not to be had any better in this range.
  KANTORCH_DEVICE bool beyond() const {
    return (largest_ > largest_cost || masses_.b < smallest_mass || masses_.b > largest_mass) &&
           (error_ <= problem_.tol || iterate_.t >= most_steps_beyond);
  }

  const ScalingProblem<T>& problem_;
  const Index k_;
  const Masses masses_;
  Iterate& iterate_;
  Passes& passes_;
  Form& form_;
  double* const price_;
  double* const g_new_;
  const ScalingResult& result_;
  const bool fixed_;
  double beta_ = 0;
  // Costs below a void alone make beta and the spread, which the gap is measured by; a plan of them pays less than
  // `near_most_`.
  bool near_ = true;
  double near_most_ = 0, near_half_ = 0;
  // Half the range below the last void, if there was no plan of those costs alone.
  double tried_ = -1;
  Index before_ = 0;  // steps of a start that led nowhere
  // Of the costs without a long tail; and of all, which has to do where rounding allows no better.
  double spread_ = 0, whole_spread_ = 0;
  bool converged_ = false;           // by the whole spread, as far as the last result tells
  double lowest_ = 0, largest_ = 0;  // the smallest cost, and the largest size
  double exponent_ = 0;              // the largest size of those that make the spread
  double error_ = 0;                 // of the marginals as they were written last
  double least_error_ = 0;           // of those since the start
  double best_ = 1e300;
  Index since_ = 0;
};

}  // namespace kantorch::cuda
