// The end of problems of IPOT that plain steps solve too slowly, by long steps with Newton's method, as on the CPU
// (cpu/ipot/ipot.cpp): a launch of its own after the first. What it does not solve stays left over, and is solved by plain
// steps alone.
#pragma once

#include "cuda/ipot/gap.hpp"
#include "cuda/ipot/massless.hpp"
#include "cuda/scaling/left_over.hpp"
#include "cuda/scaling/newton.hpp"

namespace kantorch::cuda {

template <class T>
struct FinishIpot {
  static constexpr int threads = 256;

  ScalingProblem<T> problem;
  ScalingResult result;
  double* scratch;  // doubles(n, m) a block

  template <class Team>
  static KANTORCH_BOTH constexpr Index doubles(Index n, Index m) {
    return 5 * n + 4 * m + Newton<Team, T>::doubles(n, m);
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
  static constexpr double growth = 4;
  // A long step is solved within half as many, or not at all.
  static constexpr Index most_iterations = 64;
  // Who asks for so many digits in double gets more precise potentials.
  static constexpr double few_digits = 1e-8;

  // After `made` plain steps.
  template <class Team>
  KANTORCH_DEVICE void finish(GibbsPasses<Team, T>& passes, Index k, Index made,
                              double* memory) const {
    Team& team = passes.team;
    const Index n = passes.n, m = passes.m;
    double* const price = memory;
    double* const price_from = price + n;
    double* const f_from = price_from + n;
    double* const g_from = f_from + n;
    double* const g_new = g_from + m;
    const Masses masses = read_weights(passes, problem.a[k], problem.b[k]);
    IpotGap<Team, T> gap(problem, k, masses, passes, price, g_new, result);
    const double beta = gap.choose_step(), log_mass = log(masses.b);
    double t = static_cast<double>(made), from = 0;
    passes.rate = rate_of(beta / t);
    for (Index i = team.rank(); i < n; i += team.size()) {
      passes.f[i] = to_units(result.f[k * n + i], passes.rate) + log_mass;
      f_from[i] = 0;
      price[i] = 0;
    }
    for (Index j = team.rank(); j < m; j += team.size()) {
      passes.g[j] = to_units(result.g[k * m + j], passes.rate);
      g_from[j] = 0;
    }
    team.sync();
    Newton<Team, T> newton(passes, g_new + m);

    // As on the CPU: beyond `longest` rounding the potentials changes the plan by tol, and at `enough` by a 256th of it.
    const double longest = beta / gap.spread * problem.tol * 0x1p53;
    const double longest_whole = beta / gap.whole_spread * problem.tol * 0x1p53;
    const bool precise = sizeof(T) == sizeof(double) && problem.tol <= few_digits;
    const double enough = precise ? longest_whole / 256 : 0;
    if (!(gap.spread > 0) || t >= longest) return;
    bool reached = false, back = false;
    // There is one place for Newton's method and one for the result, because they are compiled into it.
    for (;;) {
      passes.rate = rate_of(beta / t);
      bool stalled = false;
      if (!back) {
        const Index left = problem.max_iter - made;
        const Index more =
            newton.run(problem.tol / 4, left < most_iterations ? left : most_iterations, &stalled);
        stalled |= more == most_iterations;
        made += more > 0 ? more : 1;
        for (Index i = team.rank(); i < n; i += team.size()) {
          price_from[i] = price[i];
          price[i] = beta * ((passes.f[i] - f_from[i]) / (t - from));
        }
        team.sync();
      }
      const bool had_converged = gap.converged, had_reached = reached;
      const double worst = gap.write(beta / t, back || made >= problem.max_iter);
      reached = back || worst <= problem.tol;
      if (back) break;
      if ((had_reached && !reached) || (had_converged && !gap.converged && from > 0)) {
        // One step too far.
        t = from;
        for (Index i = team.rank(); i < n; i += team.size()) {
          price[i] = price_from[i];
          passes.f[i] = f_from[i];
        }
        for (Index j = team.rank(); j < m; j += team.size()) passes.g[j] = g_from[j];
        team.sync();
        back = true;
        continue;
      }
      if ((reached && t >= enough) || t >= longest || (stalled && gap.error > problem.tol) ||
          made >= problem.max_iter)
        break;
      const double next = reached ? enough
                                  : fmin(growth * t, t < longest_whole ? longest_whole : longest),
                   ahead = (next - t) / (t - from);
      for (Index i = team.rank(); i < n; i += team.size()) {
        const double now = passes.f[i];
        passes.f[i] += ahead * (now - f_from[i]);
        f_from[i] = now;
      }
      for (Index j = team.rank(); j < m; j += team.size()) {
        const double now = passes.g[j];
        passes.g[j] += ahead * (now - g_from[j]);
        g_from[j] = now;
      }
      team.sync();
      from = t;
      t = next;
    }
    if (!reached && made < problem.max_iter) return;
    team.sync();
    transform_massless(passes, problem.a[k], problem.b[k], result.eps[k], result.f + k * n,
                       result.g + k * m, g_new);
    if (team.rank() == 0) {
      result.n_iter[k] = made;
      result.status[k] =
          static_cast<std::int32_t>(reached ? Status::converged : Status::max_iterations);
    }
  }
};

}  // namespace kantorch::cuda
