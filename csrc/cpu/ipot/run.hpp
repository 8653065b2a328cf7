// One problem of IPOT, from the choice of its step to its result.
#pragma once

#include <limits>

#include "core/scaling.hpp"
#include "cpu/ipot/workspace.hpp"
#include "cpu/scaling/result.hpp"
#include "cpu/scaling/weights.hpp"

namespace kantorch::cpu {

inline constexpr double infinity = std::numeric_limits<double>::infinity();

// Newton's method leads to the end of a long step within half as many iterations, or nowhere: there may be
// no plan of the costs below a void, whose dual rises for ever.
inline constexpr Index most_newton = 64;

// The potentials are a mean over all steps, and off the optimal duals by the share of the first ones, like 1 / t, while
// their rounding changes the plan like t. Who asks for many digits gets as many steps as cost the plan a 256th of tol.
template <class T>
bool is_precise(const ScalingProblem<T>& problem) noexcept {
  constexpr double few_digits = 1e-8;
  return sizeof(T) == sizeof(double) && problem.tol <= few_digits;
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
        second_order_(IpotWorkspace<T, State>::stored && has_newton(problem)),
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
  IpotWorkspace<T, State> work_;
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

}  // namespace kantorch::cpu
