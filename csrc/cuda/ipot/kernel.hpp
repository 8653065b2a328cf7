// IPOT: problems that fit on chip by a block each, others by a team of blocks.
#pragma once

#include "core/ipot.hpp"
#include "cuda/ipot/convergence.hpp"
#include "cuda/ipot/log_form.hpp"
#include "cuda/ipot/massless.hpp"
#include "cuda/ipot/power_form.hpp"

namespace kantorch::cuda {

// The vectors of a problem: a, b and scratch of the passes, the iterate, and those of the convergence.
KANTORCH_BOTH constexpr Index ipot_vector_count(Index n, Index m) { return 5 * (n + m); }

// With the problem in `vectors`. `again` by plain steps alone, if it is left over. A form has scratch, or asks for Form::bytes() of shared memory.
template <class Form, class Team, class T, class... Scratch>
KANTORCH_DEVICE void solve_ipot(Team& team, TeamReduce<Team>& reduce,
                                const ScalingProblem<T>& problem, Index k, double* vectors,
                                const ScalingResult& result, bool again,
                                const Scratch&... scratch) {
  using Iterate = IpotIterate<Team, T>;
  using Convergence = IpotConvergence<Team, T, Form>;
  const Index n = problem.cost.rows, m = problem.cost.cols, points = n + m;
  if (again) {
    const bool left =
        is_left_over(static_cast<Status>(result.status[k]), result.n_iter[k], problem.max_iter);
    team.sync();  // all lanes have read them
    if (!left) return;
  }
  static_assert(2 + Iterate::vector_count(1, 0) + Convergence::vector_count(1, 0) ==
                ipot_vector_count(1, 0));
  GibbsPasses<Team, T> passes(team, reduce, CostOf<T>(problem.cost, k), n, m, vectors, vectors + n,
                              vectors + points, vectors + points + n);
  Iterate iterate(passes, vectors + 2 * points);
  Form form(iterate, scratch...);
  double* const rest = vectors + 2 * points + Iterate::vector_count(n, m);

  const T* const a = problem.a[k];
  const T* const b = problem.b[k];
  const double* const f_init = problem.f_init[k];
  const double* const g_init = problem.g_init[k];
  const Masses masses = read_weights(passes, a, b);
  bool bad = !masses.good || !passes.costs_are_finite();
  bad |=
      problem.strength != nullptr && !(problem.strength[k] > 0 && problem.strength[k] < infinity);
  for (Index i = team.rank(); i < n && f_init != nullptr; i += team.size())
    bad |= !std::isfinite(f_init[i]);
  for (Index j = team.rank(); j < m && g_init != nullptr; j += team.size())
    bad |= !std::isfinite(g_init[j]);
  for (Index i = team.rank(); i < n; i += team.size()) passes.f[i] = 0;
  for (Index j = team.rank(); j < m; j += team.size()) passes.g[j] = 0;
  bad = reduce.any(bad);
  team.sync();  // the vectors are there

  Convergence convergence(problem, k, masses, iterate, form, rest, result, !again);
  const bool fixed = !(problem.tol > 0);
  Status status = fixed ? Status::fixed_iterations : Status::converged;
  Index n_iter = 0;
  if (bad) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    status = Status::bad_input;
    write_all(passes, nan, nan, k, result);
  } else {
    const double beta = convergence.choose_step();
    if (masses.a > 0 && masses.b > 0) {
      status = convergence.solve(g_init);
      n_iter = convergence.made();
    } else {
      n_iter = fixed ? problem.max_iter : 0;
      write_all(passes, 0, fixed ? beta / static_cast<double>(n_iter) : beta, k, result);
    }
    team.sync();
    transform_massless(passes, a, b, result.eps[k], result.f + k * n, result.g + k * m, rest + n);
  }
  if (team.rank() == 0) {
    result.n_iter[k] = n_iter;
    result.status[k] = static_cast<std::int32_t>(status);
  }
}

// For problems that fit into Shape.
template <class T, class Shape>
struct OnChipIpot {
  static constexpr int threads = Shape::threads;

  ScalingProblem<T> problem;
  ScalingResult result;
  bool again = false;

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    auto* const vectors = team.template shared<double>(ipot_vector_count(Shape::rows, Shape::cols));
    TeamReduce<Team> reduce(team);
    solve_ipot<IpotPower<Team, T, Shape>>(team, reduce, problem, team.block(), vectors, result,
                                          again);
  }
  template <class Team>
  static constexpr Index bytes() {
    return shared_bytes<double>(ipot_vector_count(Shape::rows, Shape::cols)) +
           TeamReduce<Team>::bytes() + IpotPower<Team, T, Shape>::bytes();
  }
};

// For problems of any size.
template <class T>
struct StreamedIpot {
  static constexpr int threads = streamed_threads;

  ScalingProblem<T> problem;
  ScalingResult result;
  double* scratch;
  bool again = false;

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    TeamReduce<Team> reduce(team);
    const Index n = problem.cost.rows, m = problem.cost.cols;
    TeamProblems mine = problems_of<T>(team, scratch, ipot_vector_count(n, m), n, m);
    for (; mine.k < problem.cost.batch; mine.k += mine.step) {
      solve_ipot<IpotLog<Team, T>>(team, reduce, problem, mine.k, mine.vectors, result, again,
                                   mine.scratch);
      team.sync();  // before the scratch is used again
    }
  }
  template <class Team>
  static constexpr Index bytes() {
    return TeamReduce<Team>::bytes() + StreamedScratch::bytes<T>();
  }
};

}  // namespace kantorch::cuda
