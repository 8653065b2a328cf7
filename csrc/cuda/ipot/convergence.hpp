// IPOT to a tolerance on the marginals and on the gap, decided on the device for each problem by itself. As on the CPU
// (cpu/ipot/ipot.cpp), but that problems are left to Newton's method at the end alone (finish.hpp), and only those without
// a void in their costs.
//
// All lanes of a block follow the same numbers, which all of them compute.
#pragma once

#include "cuda/ipot/finish.hpp"
#include "cuda/ipot/gap.hpp"
#include "cuda/ipot/iterate.hpp"

namespace kantorch::cuda {

template <class Team, class T, class Form>
class IpotConvergence {
 public:
  using Iterate = IpotIterate<Team, T>;
  using Passes = GibbsPasses<Team, T>;

  static KANTORCH_BOTH constexpr Index vector_count(Index n, Index m) { return n + m; }

  KANTORCH_DEVICE IpotConvergence(const ScalingProblem<T>& problem, Index k, const Masses& masses,
                                  Iterate& iterate, Form& form, double* vectors,
                                  const ScalingResult& result, bool may_leave)
      : problem_(problem),
        k_(k),
        masses_(masses),
        iterate_(iterate),
        passes_(iterate.passes),
        form_(form),
        price_(vectors),
        result_(result),
        gap_(problem, k, masses, iterate.passes, vectors, vectors + iterate.passes.n, result),
        fixed_(!(problem.tol > 0)),
        may_leave_(may_leave && !fixed_ && has_newton(iterate.passes.n, iterate.passes.m)) {}

  KANTORCH_DEVICE double choose_step() { return beta_ = gap_.choose_step(); }

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
      } else if (gap_.near && has_no_plan(result_.value_linear[k_], masses_.a * gap_.near_most,
                                          least_error_, check, max_iter)) {
        gap_.tried = gap_.near_half;
        before_ = check;
        choose_step();
        start(g_init);
        check = first_check();
        continue;
      } else if (stalled(worst) || beyond()) {
        status = Status::precision_limit;
      } else if (is_left_over(check)) {
        return Status::max_iterations;
      } else {
        const Index next = check + (check / 8 < 8 ? 8 : check / 8);
        check = next < max_iter ? next : max_iter;
        continue;
      }
      if (status == Status::precision_limit && gap_.converged) status = Status::converged;
      if (status != Status::converged && coarsen_result(passes_, masses_, eps(), k_, result_)) {
        status = Status::precision_limit;
        gap_.copy_value();
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

  // The result of the present iterate, and the larger of the two errors that are compared with tol.
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
    const double worst = gap_.write(eps(), last);
    least_error_ = fmin(least_error_, gap_.error);
    return worst;
  }

  // Whether as many steps have been made as Newton's method takes to the end, of costs and masses of ordinary size and
  // without a void, for which it may look for a plan that is not there.
  KANTORCH_DEVICE bool is_left_over(Index check) const {
    constexpr double smallest_strength = 1e-12;
    return may_leave_ && !gap_.near && before_ == 0 && !is_extreme() &&
           beta_ > smallest_strength * gap_.largest &&
           static_cast<double>(check) >= newton_cost(passes_.n, passes_.m, 0);
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
        (sizeof(T) == sizeof(float) ? 1e-5 : 1e-12) + 1e-14 * (gap_.exponent / eps());
    return t > 1000 && t > 3 * since_ && error <= rounding;
  }

  KANTORCH_DEVICE bool is_extreme() const {
    return gap_.largest > largest_cost || masses_.b < smallest_mass || masses_.b > largest_mass;
  }

  // Whether a plan of this error, or its bound, is not to be had any better in this range.
  KANTORCH_DEVICE bool beyond() const {
    return is_extreme() && (gap_.error <= problem_.tol || iterate_.t >= most_steps_beyond);
  }

  const ScalingProblem<T>& problem_;
  const Index k_;
  const Masses masses_;
  Iterate& iterate_;
  Passes& passes_;
  Form& form_;
  double* const price_;
  const ScalingResult& result_;
  IpotGap<Team, T> gap_;
  const bool fixed_;
  const bool may_leave_;
  double beta_ = 0;
  Index before_ = 0;        // steps of a start that led nowhere
  double least_error_ = 0;  // of the marginals since the start
  double best_ = 1e300;
  Index since_ = 0;
};

}  // namespace kantorch::cuda
