// The end of problems of Sinkhorn whose iterations converge too slowly, by Newton's method: a launch of its own after the
// first, whose kernels need their registers for other things.
#pragma once

#include "core/sinkhorn.hpp"
#include "cuda/scaling/left_over.hpp"
#include "cuda/scaling/newton.hpp"

namespace kantorch::cuda {

template <class T>
struct FinishSinkhorn {
  static constexpr int threads = 256;

  ScalingProblem<T> problem;
  ScalingResult result;
  double* scratch;  // doubles(n, m) a block

  template <class Team>
  static KANTORCH_BOTH constexpr Index doubles(Index n, Index m) {
    return 2 * (n + m) + Newton<Team, T>::doubles(n, m);
  }
  template <class Team>
  static constexpr Index bytes() {
    return TeamReduce<Team>::bytes();
  }

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.cost.rows, m = problem.cost.cols;
    double* const own = scratch + team.block() * doubles<Team>(n, m);
    TeamReduce<Team> reduce(team);
    for (Index k = team.block(); k < problem.cost.batch; k += team.blocks()) {
      const Status status = static_cast<Status>(result.status[k]);
      const Index made = result.n_iter[k];
      team.sync();  // all lanes have read them
      if (!is_left_over(status, made, problem.max_iter)) continue;
      GibbsPasses<Team, T> passes(team, reduce, CostOf<T>(problem.cost, k), n, m, own, own + n,
                                  own + n + m, own + 2 * n + m);
      finish(passes, k, made, own + 2 * (n + m));
      team.sync();
    }
  }

 private:
  template <class Team>
  KANTORCH_DEVICE void finish(GibbsPasses<Team, T>& passes, Index k, Index made,
                              double* memory) const {
    Team& team = passes.team;
    const double eps = problem.strength[k];
    const Masses masses = read_weights(passes, problem.a[k], problem.b[k]);
    const double log_mass = log(masses.b);
    passes.rate = rate_of(eps);
    for (Index i = team.rank(); i < passes.n; i += team.size())
      passes.f[i] = to_units(result.f[k * passes.n + i], passes.rate) + log_mass;
    for (Index j = team.rank(); j < passes.m; j += team.size())
      passes.g[j] = to_units(result.g[k * passes.m + j], passes.rate);
    team.sync();
    Newton<Team, T> newton(passes, memory);
    bool reached = false, stalled = false;
    for (double target = 0.7 * problem.tol; !reached && !stalled && made < problem.max_iter;
         target /= 4) {
      const Index more = newton.run(target, problem.max_iter - made, &stalled);
      made += more;
      // Close enough before they were rounded to the potentials of the result.
      stalled |= more == 0;
      passes.settle_massless();
      const double error = write_result(passes, masses, eps, k, result);
      reached = error <= problem.tol && has_digits(passes, masses, eps, k, result);
      stalled |= error <= problem.tol;
    }
    if (!reached) stalled |= coarsen_result(passes, masses, eps, k, result);
    if (team.rank() == 0) {
      result.n_iter[k] = made;
      result.status[k] = static_cast<std::int32_t>(reached   ? Status::converged
                                                   : stalled ? Status::precision_limit
                                                             : Status::max_iterations);
    }
  }
};

}  // namespace kantorch::cuda
