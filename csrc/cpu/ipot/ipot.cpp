#include "core/ipot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/ipot/run.hpp"
#include "cpu/scaling/solver.hpp"

namespace kantorch::cpu {
namespace {

// Plain steps come first, as many as take the time of Newton's method to the end. Newton<T>::cost counts
// iterations without exponentials: two steps on the stored powers of a float kernel take the time of one,
// and one step in double that of five. Measured, the end never takes longer than `most_plain` steps.
template <class T>
constexpr double patience = sizeof(T) == sizeof(float) ? 2 : 0.2;
constexpr double most_plain = 1000;

// How much later Newton's method is tried again where it led nowhere.
constexpr double later = 8;

// Costs and masses at the end of the range: the differences of larger costs and potentials may
// overflow, and the exponentials of a plan of less or more mass, 1 / mass in size, are clamped.
constexpr double largest_cost = 0x1p1020;
constexpr double smallest_mass = 1e-278;
constexpr double largest_mass = 1e300;
constexpr Index most_steps_beyond = 1000;

// Whether rounding keeps the error up: it has not improved for long, and is as small as what the
// potentials, of size `exponent` in units of eps, lose. A large error may rest on a plateau for
// thousands of steps and still fall.
template <class T>
struct Progress {
  double best = 1e300;
  Index since = 0;

  bool stalled(double error, Index t, double exponent) noexcept {
    if (error < 0.95 * best) {
      best = error;
      since = t;
    }
    const double rounding = (sizeof(T) == sizeof(float) ? 1e-5 : 1e-12) + 1e-14 * exponent;
    return t > 1000 && t > 3 * since && error <= rounding;
  }
};

Index with_mass(const double* weights, Index size) noexcept {
  return std::count_if(weights, weights + size, [](double x) { return x > 0; });
}

}  // namespace

// A constant that the caller's g is larger by, and f smaller, means nothing and would cost digits.
template <class T, class State>
const double* IpotRun<T, State>::start() noexcept {
  const double* g = problem_.g_init[k_];
  if (g == nullptr) return nullptr;
  constexpr double limit = 1e300;
  double highest = -std::numeric_limits<double>::max();
  for (Index j = 0; j < m_; ++j) {
    if (work_.b[j] > 0) highest = std::max(highest, g[j]);
  }
  for (Index j = 0; j < m_; ++j) work_.g[j] = std::clamp(g[j] - highest, -limit, limit);
  return work_.g;
}

// Whether a plan of this error, or its bound, is not to be had any better in this range.
template <class T, class State>
bool IpotRun<T, State>::beyond(double error) const noexcept {
  return (largest_ > largest_cost || normal_.mass_b < smallest_mass ||
          normal_.mass_b > largest_mass) &&
         (error <= problem_.tol || work_.state.steps() >= most_steps_beyond);
}

// Plain steps; then F, G and the price of the last step, beta (F_t - F_{t-1}).
template <class T, class State>
bool IpotRun<T, State>::step_to(Index t) noexcept {
  while (work_.state.steps() < t - 1) {
    if (!work_.state.step()) return false;
  }
  std::fill_n(work_.price, n_, 0.0);
  if (!fixed_ && t > 1) work_.state.potentials(work_.price, work_.g);
  if (!work_.state.step()) return false;
  normal_.eps = beta_ / static_cast<double>(t);
  work_.passes.set_rate(rate_of(normal_.eps));
  work_.state.potentials(work_.f, work_.g);
  for (Index i = 0; i < n_ && !fixed_; ++i) work_.price[i] = beta_ * (work_.f[i] - work_.price[i]);
  return true;
}

template <class T, class State>
template <class Cost>
bool IpotRun<T, State>::run(const Cost& cost) noexcept {
  normal_ = {n_, m_, work_.a, work_.b, 0, 0, 1};
  const double mass = normal_.mass = normalise(problem_.a[k_], n_, work_.a);
  const double mass_b = normal_.mass_b = normalise(problem_.b[k_], m_, work_.b);
  work_.passes.bind(cost, work_.a, work_.b, exec_);
  if (!choose_step()) return false;
  if (!(mass > 0 && mass_b > 0)) {
    const Index steps = fixed_ ? problem_.max_iter : 0;
    normal_.eps = beta_ / static_cast<double>(std::max<Index>(steps, 1));
    write_empty_result(normal_, k_, result_);
    return end(fixed_ ? Status::fixed_iterations : Status::converged, steps);
  }
  for (double next;; beta_ = next) {
    if (!iterate(cost) || !raise_strength(normal_, work_.passes, beta_, k_, result_, &next))
      return false;
    if (!(next > 0)) return true;
    other_steps_ = 0;
  }
}

// With the present beta.
template <class T, class State>
template <class Cost>
bool IpotRun<T, State>::iterate(const Cost& cost) noexcept {
  const Index max_iter = problem_.max_iter;
  if (!work_.state.start(cost, work_.a, work_.b, beta_, start(), exec_)) return false;
  Progress<T> progress;
  double least_error = infinity;
  // Of the points with mass, so that padding does not change the plan.
  const double cost_of_newton = Newton<T>::cost(with_mass(work_.a, n_), with_mass(work_.b, m_));
  const bool has_long_steps = second_order_ && spread_ > 0;
  double enough = has_long_steps ? std::min(most_plain, patience<T> * cost_of_newton) : infinity;
  // Whether a good plan is the end, or long steps follow for the potentials.
  bool is_end = !has_long_steps || !is_precise(problem_);
  for (Index check = fixed_ ? max_iter : std::min(max_iter, other_steps_ + 8);;) {
    if (!step_to(check - other_steps_)) return false;
    double worst;
    if (!write(made() >= max_iter, &worst)) return false;
    if (fixed_) return end(Status::fixed_iterations);
    const bool there = worst <= problem_.tol;
    if (there && (is_end || max_iter - made() < 2 * most_newton)) return converge(cost);
    if (made() >= max_iter) return end(Status::max_iterations);
    const bool in_doubt = near_ && !has_plan_ && !there;
    const auto hopeless = [&](Index steps) {
      least_error = std::min(least_error, result_.marginal_error[k_]);
      return in_doubt && has_no_plan(result_.value_linear[k_], normal_.mass * near_most_,
                                     least_error, steps, max_iter);
    };
    if (hopeless(made())) return give_up_range(cost);
    if (!there && (progress.stalled(worst, work_.state.steps(), exponent_ / normal_.eps) ||
                   beyond(result_.marginal_error[k_])))
      return end(Status::precision_limit);
    if (there || (static_cast<double>(made()) >= enough &&
                  (!in_doubt || work_.state.steps() >= trial_steps))) {
      is_end |= there;
      enough = later * static_cast<double>(made());
      if constexpr (IpotWorkspace<T, State>::stored) work_.state.release();
      bool reached;
      if (!long_steps(&reached)) return false;
      if (reached) return converge(cost);
      if (made() >= max_iter) return end(Status::max_iterations);
      if (hopeless(max_iter)) return give_up_range(cost);  // more steps would not find it either
    }
    check = std::min(max_iter, made() + std::max<Index>(8, work_.state.steps() / 8));
  }
}

// Begins again with more of the costs, as there seems to be no plan of those below a void alone.
template <class T, class State>
template <class Cost>
bool IpotRun<T, State>::give_up_range(const Cost& cost) noexcept {
  tried_before_ = tried_;
  most_given_up_ = normal_.mass * near_most_;
  tried_ = near_half_;
  other_steps_ = made();
  return choose_step() && iterate(cost);
}

// Ends, unless the plan pays no more than those of the range that was given up could: then there is one of that range, which
// is searched again.
template <class T, class State>
template <class Cost>
bool IpotRun<T, State>::converge(const Cost& cost) noexcept {
  if (tried_ < 0 || has_plan_ || made() >= problem_.max_iter ||
      !(result_.value_linear[k_] <= most_given_up_))
    return end(Status::converged);
  has_plan_ = true;
  tried_ = tried_before_;
  other_steps_ = made();
  return choose_step() && iterate(cost);
}

namespace {

template <class T>
struct Ipot {
  using Stored = IpotState<T>;
  using Streamed = IpotLog<T>;
  template <class State>
  using Workspace = IpotWorkspace<T, State>;

  template <class State, class Cost>
  static bool solve(const ScalingProblem<T>& problem, Index k, const Cost& cost,
                    const ScalingResult& result, Arena& arena, const Cpu& exec) noexcept {
    return IpotRun<T, State>(problem, k, result, arena, exec).run(cost);
  }
};

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index ipot_workspace(const ScalingProblem<T>& problem, int threads) noexcept {
  return cpu::scaling_workspace<cpu::Ipot<T>>(problem, threads);
}

template <class T>
Outcome ipot(const ScalingProblem<T>& problem, const ScalingResult& result, void* workspace,
             const Cpu& exec) noexcept {
  return cpu::solve_scaling<cpu::Ipot<T>>(problem, result, workspace, exec);
}

template Index ipot_workspace(const ScalingProblem<float>&, int) noexcept;
template Index ipot_workspace(const ScalingProblem<double>&, int) noexcept;
template Outcome ipot(const ScalingProblem<float>&, const ScalingResult&, void*,
                      const Cpu&) noexcept;
template Outcome ipot(const ScalingProblem<double>&, const ScalingResult&, void*,
                      const Cpu&) noexcept;

}  // namespace kantorch
