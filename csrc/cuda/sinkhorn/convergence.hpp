// Sinkhorn to a tolerance, decided on the device for each problem by itself: eps is lowered step by step to its value,
// then over-relaxed iterations run. As on the CPU (cpu/sinkhorn/convergence.hpp), without Newton's method.
//
// All lanes of a block follow the same numbers, which all of them compute.
#pragma once

#include "common/relaxation.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch::cuda {

template <class Team, class T, class Form>
class SinkhornConvergence {
 public:
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE SinkhornConvergence(Passes& passes, Form& form, const Masses& masses, double eps)
      : passes_(passes), form_(form), masses_(masses), eps_(eps) {}

  // Starts from G (`warm`) or from nothing and writes the result of problem k but for n_iter and status; returns those.
  // A tolerance of 0 means max_iter plain iterations.
  //
  // There is one loop for all iterations, because what it calls is compiled into it.
  KANTORCH_DEVICE Status solve(bool warm, double tol, Index max_iter, Index k,
                               const ScalingResult& result, Index* n_iter) {
    const bool fixed = !(tol > 0);
    const double rate = passes_.rate;
    double by = 1, levels = fixed || warm ? 0 : anneal(max_iter, &by);
    // A start may be the solution already: its error is then anything up to tol.
    double target = warm ? tol : 0.7 * tol;
    Index made = 0;
    for (int attempt = 0;;) {
      const bool annealed = levels > 0;
      const Index last = annealed ? made + level_iterations : max_iter;
      Relaxation relaxation;
      form_.start();
      double error = infinity, left = 0;
      for (Index t = 0; made < last && !(error <= target); ++t, ++made) {
        form_.step(annealed && t >= 2 ? level_omega : relaxation.omega(), &error);
        if (fixed || annealed) {
          error = infinity;
        } else {
          relaxation.take(error, target, &left);
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
      *n_iter = made;
      error = write_result(passes_, masses_, eps_, k, result);
      if (fixed) return Status::fixed_iterations;
      if (error <= tol) return Status::converged;
      if (made >= max_iter) return Status::max_iterations;
      if (++attempt == most_attempts) return Status::precision_limit;
      target = attempt == 1 && warm ? 0.7 * tol : target / 4;
    }
  }

 private:
  // Annealing: from eps = spread / first_ratio down by `factor`, some over-relaxed iterations at each level. Below
  // spread / last_ratio potentials in double do not determine the plan, so no level lies there.
  static constexpr double first_ratio = 16, factor = 4, last_ratio = 1e13;
  static constexpr Index level_iterations = 10;
  static constexpr double level_omega = 1.5;
  // How often a lower error is asked for than the result then shows.
  static constexpr int most_attempts = 6;

  // Returns the number of levels and sets the rate of the first one and the factor between two.
  KANTORCH_DEVICE double anneal(Index max_iter, double* by) {
    double low, high;
    passes_.cost_range(&low, &high);
    const double half = high / 2 - low / 2;  // of the spread, which itself may overflow
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
  const double eps_;
};

}  // namespace kantorch::cuda
