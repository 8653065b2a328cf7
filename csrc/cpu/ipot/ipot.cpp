#include "core/ipot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "cpu/ipot/log.hpp"
#include "cpu/ipot/state.hpp"
#include "cpu/scaling/bound.hpp"
#include "cpu/scaling/newton.hpp"
#include "cpu/scaling/result.hpp"
#include "cpu/scaling/solver.hpp"
#include "cpu/scaling/weights.hpp"

namespace kantorch::cpu {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Plain steps come first, as many as take the time of Newton's method to the end. Newton<T>::cost counts
// iterations without exponentials: two steps on the stored powers of a float kernel take the time of one,
// and one step in double that of five. Measured, the end never takes longer than `most_plain` steps.
template <class T>
constexpr double patience = sizeof(T) == sizeof(float) ? 2 : 0.2;
constexpr double most_plain = 1000;

// How much later Newton's method is tried again where it led nowhere. It leads to the end of a long step
// within half as many iterations as `most_newton`, or nowhere: there may be no plan of the costs below a
// void, whose dual rises for ever.
constexpr double later = 8;
constexpr Index most_newton = 64;

// Newton's matrix of larger problems would be more than 128 MiB, and its time near that of 10 000 plain steps.
constexpr Index largest_newton = 4096;

template <class T>
bool has_newton(const ScalingProblem<T>& problem) noexcept {
  return problem.tol > 0 && std::min(problem.cost.rows, problem.cost.cols) <= largest_newton;
}

// The potentials are a mean over all steps, and off the optimal duals by the share of the first ones, like 1 / t, while
// their rounding changes the plan like t. Who asks for many digits gets as many steps as cost the plan a 256th of tol.
template <class T>
bool is_precise(const ScalingProblem<T>& problem) noexcept {
  constexpr double few_digits = 1e-8;
  return sizeof(T) == sizeof(double) && problem.tol <= few_digits;
}

// The scratch of one problem at a time. State is IpotState<T>, on a stored cost, or IpotLog<T>. Newton's
// matrix and the numbers of the state are never needed at once.
template <class T, class State>
struct Workspace {
  static constexpr bool stored = std::is_same_v<State, IpotState<T>>;

  Workspace(Arena& arena, const ScalingProblem<T>& problem) noexcept
      : Workspace(arena, problem.cost.rows, problem.cost.cols, problem.cost.points.dims,
                  stored && has_newton(problem)) {}

  Workspace(Arena& arena, Index n, Index m, Index dims, bool second_order) noexcept
      : a(arena.take<double>(n)),
        b(arena.take<double>(m)),
        f(arena.take<double>(n)),
        g(arena.take<double>(m)),
        price(arena.take<double>(n)),
        price_from(arena.take<double>(n)),
        f_from(arena.take<double>(n)),
        g_from(arena.take<double>(m)),
        scratch(arena.take<double>(dual_value_scratch(n, m))),
        large(arena.take<char>(stored ? large_bytes(n, m, second_order) : 0)),
        passes(arena, n, m, stored),
        state(make_state(arena, n, m, dims)),
        newton(arena, passes, second_order ? n : 0, second_order ? m : 0,
               reinterpret_cast<double*>(large)) {}

  static Index large_bytes(Index n, Index m, bool second_order) noexcept {
    const Index numbers = IpotState<T>::buffer(n, m) * static_cast<Index>(sizeof(T));
    const Index matrix =
        Laplacian::weights_for(Schur<T>::size_for(n, m)) * static_cast<Index>(sizeof(double));
    return second_order ? std::max(numbers, matrix) : numbers;
  }

  State make_state(Arena& arena, Index n, Index m, [[maybe_unused]] Index dims) noexcept {
    if constexpr (stored) {
      return State(arena, passes, n, m, reinterpret_cast<T*>(large));
    } else {
      return State(arena, passes, n, m, dims);
    }
  }

  double* a;
  double* b;
  double* f;
  double* g;
  double* price;       // F before the last step, then the price of the last step
  double* price_from;  // price before that
  double* f_from;      // F and G before the last long step
  double* g_from;
  double* scratch;
  char* large;
  GibbsPasses<T> passes;
  State state;
  Newton<T> newton;
};

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

// One problem.
template <class T, class State>
class IpotRun {
 public:
  IpotRun(const ScalingProblem<T>& problem, Index k, const ScalingResult& result, Arena& arena,
          const Cpu& exec) noexcept
      : problem_(problem),
        k_(k),
        n_(problem.cost.rows),
        m_(problem.cost.cols),
        result_(result),
        exec_(exec),
        fixed_(!(problem.tol > 0)),
        second_order_(Workspace<T, State>::stored && has_newton(problem)),
        work_(arena, problem) {}

  // False if it was stopped, as in all below.
  template <class Cost>
  bool run(const Cost& cost) noexcept;

 private:
  template <class Cost>
  bool iterate(const Cost& cost) noexcept;
  bool choose_step() noexcept;
  template <class Cost>
  bool give_up_range(const Cost& cost) noexcept;
  template <class Cost>
  bool converge(const Cost& cost) noexcept;
  bool step_to(Index t) noexcept;
  bool long_steps(bool* reached) noexcept;
  bool write(bool last, double* worst) noexcept;
  const double* start() noexcept;
  bool beyond(double error) const noexcept;
  bool best_bound(double sufficient, double* bound) noexcept;

  Index made() const noexcept { return work_.state.steps() + other_steps_; }

  // Also where the potentials determine a plan at a larger eps only.
  bool end(Status status) noexcept {
    if (status == Status::precision_limit && converged_) status = Status::converged;
    bool coarser = false;
    if (status != Status::converged &&
        !coarsen_result(normal_, work_.passes, work_.f, work_.g, k_, result_, &coarser))
      return false;
    if (coarser) result_.value[k_] = result_.value_linear[k_];
    return end(coarser ? Status::precision_limit : status, made());
  }
  bool end(Status status, Index steps) noexcept {
    result_.status[k_] = static_cast<std::int32_t>(status);
    result_.n_iter[k_] = steps;
    return true;
  }

  const ScalingProblem<T>& problem_;
  const Index k_;
  const Index n_;
  const Index m_;
  const ScalingResult& result_;
  const Cpu& exec_;
  const bool fixed_;
  const bool second_order_;
  Workspace<T, State> work_;
  Normalised normal_{};
  double beta_ = 0;
  // Costs below a void alone make beta and the spread, which the gap is measured by; a plan of them pays less than
  // `near_most_`.
  bool near_ = true;
  double near_most_ = 0, near_half_ = 0;
  // Half the range below the last void, if there was no plan of those costs alone.
  double tried_ = -1;
  // What `tried_` was before that range was given up, and the most that a plan of it pays.
  double tried_before_ = -1, most_given_up_ = 0;
  bool has_plan_ = false;  // the range was given up, but a plan of it was found after all
  // Of the costs without a long tail; and of all, which has to do where rounding allows no better.
  double spread_ = 0, whole_spread_ = 0;
  double lowest_ = 0, largest_ = 0;  // the smallest cost, and the largest size
  double exponent_ = 0;              // the largest size of those that make the spread
  bool converged_ = false;           // by the whole spread, as far as the last result tells
  Index other_steps_ = 0;            // of Newton's method, and of a start that led nowhere
};

template <class T, class State>
bool IpotRun<T, State>::choose_step() noexcept {
  beta_ = problem_.strength == nullptr ? 0 : problem_.strength[k_];
  const bool given = beta_ > 0;
  if (fixed_ && given) return true;
  CostRows<T>& cost = work_.passes.cost_rows();
  CostRange range;
  if (!cost_range(cost, work_.a, work_.b, exec_, &range)) return false;
  spread_ = whole_spread_ = range.high - range.low;
  lowest_ = range.low;
  largest_ = range.size();
  double limit = infinity;
  if (!fixed_ && !narrow_below_voids(cost, work_.a, work_.b, {0, least_share_below, tried_}, exec_,
                                     &range, &limit))
    return false;
  near_ = limit < infinity;
  if (near_) spread_ = range.high - range.low;
  exponent_ = range.size();
  CostExcess excess;
  bool stopped = false;
  if (!fixed_)
    spread_ = without_tail(spread_, [&](double height) {
      stopped |=
          !cost_excess(cost, work_.a, work_.b, range.low, range.low + height, exec_, &excess);
      return !stopped && excess.mean > 0 ? excess.share : 0;
    });
  if (stopped) return false;
  if (given && !near_) return true;
  if (!cost_excess(cost, work_.a, work_.b, range.low, limit, exec_, &excess)) return false;
  near_most_ = range.high + (range.high - range.low);
  near_half_ = range.half();
  if (!given) beta_ = excess.mean > 0 ? 0.1 * excess.mean : 1;  // any, if the cost is constant
  return true;
}

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

// The best bound from the prices of the last step and from the potentials. Near the end each step
// moves F by a dual optimum over beta, so the error of the first falls as fast as that of the plan,
// while that of the second, the mean of all steps, falls like 1 / t.
template <class T, class State>
bool IpotRun<T, State>::best_bound(double sufficient, double* bound) noexcept {
  *bound = -infinity;
  for (const double* dual :
       {static_cast<const double*>(work_.price), static_cast<const double*>(result_.f + k_ * n_)}) {
    double value;
    if (!dual_value(work_.passes.cost_rows(), problem_.a[k_], problem_.b[k_], dual, work_.scratch,
                    exec_, &value))
      return false;
    *bound = std::max(*bound, value);
    if (*bound >= sufficient) break;
  }
  return true;
}

// The result of the present potentials, and the larger of the two errors that are compared with
// tol: the gap counts where the marginals are good enough, and at the `last` time.
template <class T, class State>
bool IpotRun<T, State>::write(bool last, double* worst) noexcept {
  if (!write_result(normal_, work_.passes, work_.f, work_.g, k_, result_)) return false;
  result_.value[k_] = result_.value_linear[k_];
  const double error = *worst = result_.marginal_error[k_];
  converged_ = false;
  // Where all costs are equal, every plan of these marginals is optimal, and the gap is rounding.
  if (fixed_ || !(spread_ > 0) || !(error <= problem_.tol || last)) return true;
  constexpr double top = std::numeric_limits<double>::max();
  const double linear = result_.value_linear[k_];
  const double scale = std::max(normal_.mass * spread_, linear - normal_.mass * lowest_);
  double bound;
  if (!best_bound(linear - problem_.tol * scale, &bound)) return false;
  // Also below 0, where mass that the plan lacks or has too much pays a large constant of the costs.
  const double gap = std::abs(linear - bound);
  converged_ = error <= problem_.tol && gap <= problem_.tol * (normal_.mass * whole_spread_);
  if (!(gap <= problem_.tol * scale)) *worst = std::max(error, gap / scale);
  if (!(scale <= top && *worst <= top)) *worst = infinity;
  const Index dims = problem_.cost.points.dims;
  result_.bound[k_] = dims > 0 ? below_rounded_distances(bound, problem_.a[k_], n_, dims) : bound;
  return true;
}

// Long steps, each solved to the end by Newton's method, from the present potentials on: one of the
// strength beta / (c - 1) t leads from t to c t, where the plan is at eps = beta / c t. It begins
// where the price of the step before leads. Ends without success where Newton's method stalls far
// from the marginals, at the latest where rounding the potentials changes the plan by tol.
template <class T, class State>
bool IpotRun<T, State>::long_steps(bool* reached) noexcept {
  constexpr double growth = 4;
  const double longest = beta_ / spread_ * problem_.tol * 0x1p53;
  // Where the whole spread is the scale. One stop is there: beyond, rounding may allow nothing better.
  const double longest_whole = beta_ / whole_spread_ * problem_.tol * 0x1p53;
  const double enough = is_precise(problem_) ? longest_whole / 256 : 0;
  double t = static_cast<double>(work_.state.steps()), from = 0;
  *reached = false;
  if (t >= longest) return true;
  std::fill_n(work_.f_from, n_, 0.0);
  std::fill_n(work_.g_from, m_, 0.0);
  while (made() < problem_.max_iter) {
    normal_.eps = beta_ / t;
    work_.passes.set_rate(rate_of(normal_.eps));
    Index steps;
    bool stalled;
    if (!work_.newton.run(work_.a, work_.b, work_.f, work_.g, problem_.tol / 4,
                          std::min(most_newton, problem_.max_iter - made()), &steps, &stalled))
      return false;
    stalled |= steps == most_newton;
    other_steps_ += std::max<Index>(steps, 1);
    const bool had_converged = converged_;
    std::swap(work_.price, work_.price_from);
    for (Index i = 0; i < n_; ++i)
      work_.price[i] = beta_ * ((work_.f[i] - work_.f_from[i]) / (t - from));
    double worst;
    if (!write(made() >= problem_.max_iter, &worst)) return false;
    const bool had_reached = *reached;
    *reached = worst <= problem_.tol;
    if ((had_reached && !*reached) || (!near_ && had_converged && !converged_ && from > 0)) {
      // One step too far: its digits are worse than those of the step before, which are good, or good beside the long tail.
      std::swap(work_.price, work_.price_from);
      std::copy_n(work_.f_from, n_, work_.f);
      std::copy_n(work_.g_from, m_, work_.g);
      normal_.eps = beta_ / from;
      work_.passes.set_rate(rate_of(normal_.eps));
      *reached = true;
      return write(true, &worst);
    }
    if ((*reached && t >= enough) || t >= longest ||
        (stalled && result_.marginal_error[k_] > problem_.tol))
      return true;
    const double next = *reached
                            ? enough
                            : std::min(growth * t, t < longest_whole ? longest_whole : longest),
                 ahead = (next - t) / (t - from);
    for (Index i = 0; i < n_; ++i) {
      const double now = work_.f[i];
      work_.f[i] += ahead * (now - work_.f_from[i]);
      work_.f_from[i] = now;
    }
    for (Index j = 0; j < m_; ++j) {
      const double now = work_.g[j];
      work_.g[j] += ahead * (now - work_.g_from[j]);
      work_.g_from[j] = now;
    }
    from = t;
    t = next;
  }
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
      if constexpr (Workspace<T, State>::stored) work_.state.release();
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

template <class T>
struct Ipot {
  using Stored = IpotState<T>;
  using Streamed = IpotLog<T>;
  template <class State>
  using Workspace = cpu::Workspace<T, State>;

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
