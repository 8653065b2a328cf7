#include "cpu/sinkhorn/convergence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/relaxation.hpp"
#include "cpu/scaling/bound.hpp"

namespace kantorch::cpu {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Annealing: from eps = spread / first_ratio down by `factor`, some over-relaxed iterations at each
// level. Below spread / last_ratio potentials in double do not determine the plan, so no level lies
// there.
constexpr double first_ratio = 16;
constexpr double factor = 4;
constexpr double last_ratio = 1e13;
constexpr Index level_iterations = 10;
constexpr double level_omega = 1.5;

// A level that is left farther from its solution than this is brought closer by Newton's method
// first: the next one would start too far away.
constexpr double level_error = 0.1;
// At small eps less than one misplaced point counts as far.
constexpr double fine_ratio = 3000;
constexpr Index newton_iterations = 20;

// Where eps is less than this part of the spread, a first start looks at the costs below a void only: potentials as
// large as the others would hide the costs that the plan pays. How many iterations show whether there is a plan without
// these, and the error that says so.
constexpr double far_ratio = 1e8;
constexpr double near_share = 0.125;  // of the costs, that serves as well where there is no void
constexpr Index trial_iterations = 100;
constexpr double trial_error = 0.1;
// What rounding keeps the error of such a plan below.
constexpr double near_error = 1e-3;

// Without Newton's method: how often a lower error is asked for than the result then shows.
constexpr int most_attempts = 6;

}  // namespace

template <class T, class Form>
SinkhornConvergence<T, Form>::SinkhornConvergence(Arena& arena, GibbsPasses<T>& passes, Form& form,
                                                  Index n, Index m, double* weights) noexcept
    : passes_(passes), form_(form), newton_(arena, passes, n, m, weights) {}

template <class T, class Form>
bool SinkhornConvergence<T, Form>::begin(Start start) noexcept {
  start_ = start;
  if (start == Start::given) return true;
  std::fill_n(f_, problem_->n, 0.0);
  std::fill_n(g_, problem_->m, 0.0);
  CostRows<T>& cost = passes_.cost_rows();
  CostRange range;
  if (!cost_range(cost, problem_->a, problem_->b, passes_.exec(), &range)) return false;
  start_ = Start::all;
  const double far = far_ratio / passes_.rate();
  if (range.half() > far / 2) {
    double limit;
    if (!narrow_below_voids(cost, problem_->a, problem_->b, {far / 2, 0, tried_}, passes_.exec(),
                            &range, &limit))
      return false;
    if (limit == infinity) {
      if (tried_ >= 0 || 2 * (range.half() * passes_.rate()) <= last_ratio) return anneal(range);
      // Costs of all sizes, and many are near.
      CostExcess near;
      limit = range.low + far;
      if (!cost_excess(cost, problem_->a, problem_->b, range.low, limit, passes_.exec(), &near))
        return false;
      if (near.share < near_share) return anneal(range);
      if (!cost_range(cost, problem_->a, problem_->b, passes_.exec(), &range, limit)) return false;
    }
    start_ = Start::near;
  }
  bool promising = true;
  if (!anneal(range) || (start_ == Start::near && !promises(range, &promising))) return false;
  tried_ = range.half();
  return promising || begin(Start::near);
}

// Whether some iterations from here lead to a plan that pays costs of this range alone.
template <class T, class Form>
bool SinkhornConvergence<T, Form>::promises(const CostRange& range, bool* promising) noexcept {
  form_.start(problem_->a, problem_->b, f_, g_);
  double error;
  for (Index t = std::min(trial_iterations, (max_iter_ - made_) / 2); t > 0; --t, ++made_) {
    if (!form_.step(1, &error)) return false;
  }
  form_.finish();
  if (!write_result(*problem_, passes_, f_, g_, k_, *result_)) return false;
  *promising = result_->marginal_error[k_] <= trial_error &&
               result_->value_linear[k_] <= problem_->mass * (range.high + 2 * range.half());
  return true;
}

template <class T, class Form>
bool SinkhornConvergence<T, Form>::anneal(const CostRange& range) noexcept {
  const double half = range.half();
  const double rate = passes_.rate();
  const double ratio = std::min(2 * (half * rate), last_ratio);
  if (!(ratio > 2 * first_ratio)) return true;
  // At most a third of the iterations for the levels, and half with Newton's: the rest is for the
  // end.
  const double budget = static_cast<double>(max_iter_ - made_) / 3 / level_iterations;
  double levels = std::ceil(std::log(ratio / first_ratio) / std::log(factor));
  if (levels > budget) levels = std::floor(budget);
  if (levels < 1) return true;
  const double by = std::pow(ratio / first_ratio, 1 / levels);
  double level_rate = std::min(first_ratio / 2 / half, rate);
  for (double level = 0; level < levels; ++level) {
    passes_.set_rate(level_rate);
    form_.start(problem_->a, problem_->b, f_, g_);
    double error = 1;
    for (Index t = 0; t < level_iterations; ++t, ++made_) {
      if (!form_.step(t < 2 ? 1 : level_omega, &error)) return false;
    }
    form_.finish();
    const bool fine = level_rate * 2 * half > fine_ratio;
    const double allowed =
        fine ? 0.1 / static_cast<double>(std::max(problem_->n, problem_->m)) : level_error;
    if (Form::second_order && error > allowed && made_ < max_iter_ / 2) {
      Index made = 0;
      bool stalled = false;
      if (!newton_.run(problem_->a, problem_->b, f_, g_, allowed / 3,
                       std::min(newton_iterations, max_iter_ / 2 - made_), &made, &stalled))
        return false;
      made_ += made;
    }
    const double next = level + 1 < levels ? level_rate * by : rate;
    for (Index i = 0; i < problem_->n; ++i) f_[i] *= next / level_rate;
    for (Index j = 0; j < problem_->m; ++j) g_[j] *= next / level_rate;
    level_rate = next;
  }
  passes_.set_rate(rate);
  return true;
}

template <class T, class Form>
bool SinkhornConvergence<T, Form>::relax(double target, bool refined, bool* promising) noexcept {
  Relaxation relaxation;
  const double limit = Form::second_order ? Newton<T>::cost(problem_->n, problem_->m) : infinity;
  form_.start(problem_->a, problem_->b, f_, g_);
  if (refined) form_.refine();
  *promising = true;
  for (double error = 1, left = 0; made_ < max_iter_;) {
    // The last one is plain: it makes the columns' sums right, wherever relaxed ones were on their way to.
    const double omega = made_ + 1 < max_iter_ ? relaxation.omega() : 1;
    if (!form_.step(omega, &error)) return false;
    ++made_;
    if (error <= target) break;
    if (error < Form::smallest_error) form_.refine();
    if (relaxation.take(error, target, &left) && left > limit) {
      *promising = false;
      break;
    }
  }
  form_.finish();
  return true;
}

// Potentials of points without mass from those of the others as they are now: no error tells whether they are settled.
// The sums of the result are scratch until it is written.
template <class T, class Form>
bool SinkhornConvergence<T, Form>::settle_massless() noexcept {
  const Index n = problem_->n, m = problem_->m;
  const auto settle = [](const double* weights, const double* from, Index size, double* to) {
    for (Index i = 0; i < size; ++i)
      if (!(weights[i] > 0)) to[i] = from[i];
  };
  const auto any = [](const double* weights, Index size) {
    return std::any_of(weights, weights + size, [](double x) { return !(x > 0); });
  };
  if (any(problem_->a, n)) {
    double* rows = result_->row_sum + k_ * n;
    if (!passes_.update_rows(rows, g_)) return false;
    settle(problem_->a, rows, n, f_);
  }
  if (any(problem_->b, m)) {
    double* cols = result_->col_sum + k_ * m;
    if (!passes_.update_columns(f_, cols)) return false;
    settle(problem_->b, cols, m, g_);
  }
  return true;
}

template <class T, class Form>
bool SinkhornConvergence<T, Form>::solve(const Normalised& problem, double* f, double* g, bool warm,
                                         double tol, Index max_iter, Index k,
                                         const ScalingResult& result) noexcept {
  problem_ = &problem;
  result_ = &result;
  k_ = k;
  f_ = f;
  g_ = g;
  made_ = 0;
  tried_ = -1;
  max_iter_ = max_iter;
  if (!begin(warm ? Start::given : Start::near)) return false;

  bool promising = true, stalled = false;
  // A start may be the solution already: its error is then anything up to tol.
  double target = warm ? tol : 0.7 * tol;
  for (int attempt = 0;; ++attempt) {
    if (!Form::second_order || (promising && attempt < 3)) {
      stalled = attempt >= most_attempts;
      if (!stalled && !relax(target, attempt > 0, &promising)) return false;
      if (!promising && made_ < max_iter_) continue;
    } else {
      Index made = 0;
      if (!newton_.run(problem.a, problem.b, f, g, target, max_iter_ - made_, &made, &stalled))
        return false;
      made_ += made;
      // Close enough before they were rounded to the potentials of the result.
      stalled |= made == 0;
    }
    if (!settle_massless() || !write_result(problem, passes_, f, g, k, result)) return false;
    const double error = result.marginal_error[k];
    const bool reached = error <= tol && has_digits(problem, k, result);
    stalled |= error <= tol && !reached;
    const bool elsewhere =
        start_ == Start::given || (start_ == Start::near && !(error <= near_error));
    if (stalled && !reached && elsewhere && made_ < max_iter_) {
      stalled = false;
      promising = true;
      attempt = -1;
      target = 0.7 * tol;
      if (!begin(Start::near)) return false;
      continue;
    }
    if (reached || stalled || made_ >= max_iter_) {
      bool coarser = false;
      if (!reached && !coarsen_result(problem, passes_, f, g, k, result, &coarser)) return false;
      stalled |= coarser;
      result.n_iter[k] = made_;
      result.status[k] = static_cast<std::int32_t>(reached   ? Status::converged
                                                   : stalled ? Status::precision_limit
                                                             : Status::max_iterations);
      return true;
    }
    target = attempt == 0 && start_ == Start::given ? 0.7 * tol : target / 4;
  }
}

template class SinkhornConvergence<float, ScalingForm<float>>;
template class SinkhornConvergence<double, ScalingForm<double>>;
template class SinkhornConvergence<float, LogForm<float>>;
template class SinkhornConvergence<double, LogForm<double>>;

}  // namespace kantorch::cpu
