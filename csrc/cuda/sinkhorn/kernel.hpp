// Sinkhorn: problems that fit on chip by a block each, others by a team of blocks.
#pragma once

#include "core/sinkhorn.hpp"
#include "cuda/sinkhorn/convergence.hpp"
#include "cuda/sinkhorn/log_form.hpp"
#include "cuda/sinkhorn/scaling_form.hpp"

namespace kantorch::cuda {

// The vectors a, b, f, g of a problem.
KANTORCH_BOTH constexpr Index vector_count(Index n, Index m) { return 2 * (n + m); }

// With the problem in `vectors`. A form has scratch, or asks for Form::bytes() of shared memory.
template <class Form, class Team, class T, class... Scratch>
KANTORCH_DEVICE void solve(Team& team, TeamReduce<Team>& reduce, const ScalingProblem<T>& problem,
                           Index k, double* vectors, const ScalingResult& result,
                           const Scratch&... scratch) {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  GibbsPasses<Team, T> passes(team, reduce, CostOf<T>(problem.cost, k), n, m, vectors, vectors + n,
                              vectors + n + m, vectors + 2 * n + m);
  Form form(passes, scratch...);
  const double eps = problem.strength[k];
  const double* const start = problem.g_init[k];

  const Masses masses = read_weights(passes, problem.a[k], problem.b[k]);
  bool bad = !masses.good || !(eps > 0 && eps < infinity);
  for (Index i = team.rank(); i < n && start != nullptr; i += team.size())
    bad |= !std::isfinite(problem.f_init[k][i]);
  for (Index j = team.rank(); j < m && start != nullptr; j += team.size())
    bad |= !std::isfinite(start[j]);
  bad |= !passes.costs_are_finite();
  bad = reduce.any(bad);
  team.sync();  // the vectors are there

  Status status = problem.tol > 0 ? Status::converged : Status::fixed_iterations;
  Index n_iter = problem.tol > 0 ? 0 : problem.max_iter;
  if (bad) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    status = Status::bad_input;
    n_iter = 0;
    write_all(passes, nan, nan, k, result);
  } else if (!(masses.a > 0 && masses.b > 0)) {
    write_all(passes, 0, eps, k, result);
  } else {
    SinkhornConvergence<Team, T, Form> convergence(passes, form, masses, eps, start);
    status = convergence.solve(problem.tol, problem.max_iter, k, result, &n_iter);
  }
  if (team.rank() == 0) {
    result.n_iter[k] = n_iter;
    result.status[k] = static_cast<std::int32_t>(status);
  }
}

// For problems that fit into Shape.
template <class T, class Shape>
struct OnChipSinkhorn {
  static constexpr int threads = Shape::threads;

  ScalingProblem<T> problem;
  ScalingResult result;

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    auto* const vectors = team.template shared<double>(vector_count(Shape::rows, Shape::cols));
    TeamReduce<Team> reduce(team);
    solve<ScalingForm<Team, T, Shape>>(team, reduce, problem, team.block(), vectors, result);
  }
  template <class Team>
  static constexpr Index bytes() {
    return shared_bytes<double>(vector_count(Shape::rows, Shape::cols)) +
           TeamReduce<Team>::bytes() + ScalingForm<Team, T, Shape>::bytes();
  }
};

// For problems of any size.
template <class T>
struct StreamedSinkhorn {
  static constexpr int threads = streamed_threads;

  ScalingProblem<T> problem;
  ScalingResult result;
  double* scratch;

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    TeamReduce<Team> reduce(team);
    const Index n = problem.cost.rows, m = problem.cost.cols;
    TeamProblems mine = problems_of<T>(team, scratch, vector_count(n, m), n, m);
    for (; mine.k < problem.cost.batch; mine.k += mine.step) {
      solve<LogForm<Team, T>>(team, reduce, problem, mine.k, mine.vectors, result, mine.scratch);
      team.sync();  // before the scratch is used again
    }
  }
  template <class Team>
  static constexpr Index bytes() {
    return TeamReduce<Team>::bytes() + StreamedScratch::bytes<T>();
  }
};

}  // namespace kantorch::cuda
