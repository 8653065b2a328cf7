// Sinkhorn to a tolerance, decided on the device for each problem by itself: eps is lowered step by step to its value,
// then over-relaxed iterations run. As on the CPU (cpu/sinkhorn/convergence.hpp), but that problems are left to Newton's
// method at the end alone (finish.hpp).
//
// All lanes of a block follow the same numbers, which all of them compute.
#pragma once

#include "common/relaxation.hpp"
#include "cuda/scaling/problem.hpp"
#include "cuda/sinkhorn/finish.hpp"

namespace kantorch::cuda {

template <class Team, class T, class Form>
class SinkhornConvergence {
 public:
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE SinkhornConvergence(Passes& passes, Form& form, const Masses& masses, double reg,
                                      const double* g_init)
      : passes_(passes), form_(form), masses_(masses), reg_(reg), g_init_(g_init) {}

  // Starts from g_init, if it is given, and writes the result of problem k but for n_iter and status; returns those. A
  // tolerance of 0 means max_iter plain iterations.
  //
  // There is one loop for all iterations, because what it calls is compiled into it.
  KANTORCH_DEVICE Status solve(double tol, Index max_iter, Index k, const ScalingResult& result,
                               Index* n_iter) {
    const double reg = reg_;
    for (;;) {
      const Status status = solve_at(tol, max_iter, k, result, n_iter);
      const double next = raise_strength(passes_, masses_, reg_, k, result);
      if (!(next > 0)) return reg_ > reg ? Status::precision_limit : status;
      reg_ = next;
    }
  }

 private:
  // Annealing: from eps = spread / first_ratio down by `factor`, some over-relaxed iterations at each level. Below
  // spread / last_ratio potentials in double do not determine the plan, so no level lies there.
  static constexpr double first_ratio = 16, factor = 4, last_ratio = 1e13;
  static constexpr Index level_iterations = 10;
  static constexpr double level_omega = 1.5;
  // Where a start looks at the costs below a void only, and what shows whether there is a plan of those.
  static constexpr double far_ratio = 1e8, near_share = 0.125;
  static constexpr double trial_error = 0.1, near_error = 1e-3;
  static constexpr Index trial_iterations = 100;
  // How often a lower error is asked for than the result then shows.
  static constexpr int most_attempts = 6;

  // As on the CPU.
  enum class Start { given, near, all };

  KANTORCH_DEVICE Status solve_at(double tol, Index max_iter, Index k, const ScalingResult& result,
                                  Index* n_iter) {
    const bool fixed = !(tol > 0), warm = g_init_ != nullptr;
    const double rate = rate_of(reg_);
    Start start = fixed || warm ? Start::given : Start::near;
    Index made = 0;
    tried_ = -1;
    double by = 1, levels = begin(&start, max_iter, &by);
    bool on_trial = start == Start::near;
    // A start may be the solution already: its error is then anything up to tol.
    double target = warm ? tol : 0.7 * tol;
    for (int attempt = 0;;) {
      const bool annealed = levels > 0;
      const Index half = (max_iter - made) / 2;
      const Index trial = half < trial_iterations ? half : trial_iterations;
      const Index last = annealed ? made + level_iterations : on_trial ? made + trial : max_iter;
      Relaxation relaxation;
      form_.start();
      double error = infinity, left = 0;
      bool promising = true;
      for (Index t = 0; made < last && !(error <= target) && promising; ++t, ++made) {
        // The last one is plain: it makes the columns' sums right, wherever relaxed ones were on their way to.
        const double omega = made + 1 < max_iter ? relaxation.omega() : 1;
        form_.step(annealed && t >= 2 ? level_omega : omega, &error);
        if (fixed || annealed) {
          error = infinity;
        } else if (!on_trial) {
          promising = !(relaxation.take(error, target, &left) && has_newton(passes_.n, passes_.m) &&
                        left > newton_cost(passes_.n, passes_.m, t));
        }
      }
      form_.finish();
      if (annealed) {
        levels -= 1;
        const double next = levels > 0 ? passes_.rate * by : rate;
        passes_.rescale(next / passes_.rate);
        passes_.rate = next;
        continue;
      }
      if (!fixed) passes_.settle_massless();
      error = write_result(passes_, masses_, reg_, k, result);
      bool elsewhere = false, stalled = false, reached = false, left_over = false;
      if (on_trial) {
        on_trial = false;
        elsewhere = !(error <= trial_error && result.value_linear[k] <= masses_.a * most_paid_);
        if (!elsewhere) continue;
      } else {
        left_over = !promising && made < max_iter && start != Start::given;
        reached = !fixed && error <= tol && has_digits(passes_, masses_, reg_, k, result);
        stalled =
            !fixed && !left_over && (++attempt == most_attempts || (error <= tol && !reached));
        elsewhere = (stalled || !promising) && !left_over && !reached && made < max_iter &&
                    (start == Start::given || (start == Start::near && !(error <= near_error)));
      }
      if (elsewhere) {
        start = Start::near;
        levels = begin(&start, max_iter - made, &by);
        on_trial = start == Start::near;
        target = 0.7 * tol;
        attempt = 0;
      } else if (fixed || reached || stalled || left_over || made >= max_iter) {
        *n_iter = made;
        if (reached) return Status::converged;
        if (!left_over) stalled |= coarsen_result(passes_, masses_, reg_, k, result);
        return stalled ? Status::precision_limit
               : fixed ? Status::fixed_iterations
                       : Status::max_iterations;
      } else {
        target = attempt == 1 && start == Start::given ? 0.7 * tol : target / 4;
      }
    }
  }

  // Sets F and G, the rate of the first level and the factor between two; returns the number of levels.
  KANTORCH_DEVICE double begin(Start* start, Index max_iter, double* by) {
    Team& team = passes_.team;
    passes_.rate = rate_of(reg_);
    for (Index i = team.rank(); i < passes_.n; i += team.size()) passes_.f[i] = 0;
    for (Index j = team.rank(); j < passes_.m; j += team.size())
      passes_.g[j] =
          *start == Start::given && g_init_ != nullptr ? to_units(g_init_[j], passes_.rate) : 0;
    team.sync();
    if (*start == Start::given) return 0;
    CostRange range = passes_.cost_range();
    const double far = far_ratio / passes_.rate;
    if (*start == Start::near && range.half() > far / 2) {
      if (!(passes_.narrow_below_voids({far / 2, 0, tried_}, &range) < infinity)) {
        // Costs of all sizes, and many are near.
        const double limit = range.low + far;
        if (tried_ >= 0 || 2 * (range.half() * passes_.rate) <= last_ratio ||
            passes_.cost_excess(range.low, limit).share < near_share) {
          *start = Start::all;
        } else {
          range = passes_.cost_range(limit);
        }
      }
    } else {
      *start = Start::all;
    }
    const double half = range.half();
    most_paid_ = range.high + 2 * half;
    tried_ = half;
    const double ratio = fmin(2 * (half * passes_.rate), last_ratio);
    if (!(ratio > 2 * first_ratio)) return 0;
    // At most a third of the iterations: the rest is for the end.
    const double budget = floor(static_cast<double>(max_iter) / 3 / level_iterations);
    const double levels = fmin(ceil(log(ratio / first_ratio) / log(factor)), budget);
    if (levels < 1) return 0;
    *by = exp(log(ratio / first_ratio) / levels);
    passes_.rate = fmin(first_ratio / 2 / half, passes_.rate);
    return levels;
  }

  Passes& passes_;
  Form& form_;
  const Masses masses_;
  double reg_;
  const double* const g_init_;  // or null
  double tried_ = -1;           // half the range of the costs that the last start looked at
  double most_paid_ = 0;        // on average, by a plan of the costs that the start looks at
};

}  // namespace kantorch::cuda
