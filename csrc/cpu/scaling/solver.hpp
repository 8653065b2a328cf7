// What the solvers of the family do alike: a batch of problems, each on stored costs or on points.
//
// A solver names a form for either, Stored and Streamed. For both it has Workspace<Form>, made of an arena and a problem,
// and solve<Form>(problem, k, cost, result, arena, exec), which is false if it was stopped.
#pragma once

#include "core/scaling.hpp"
#include "cpu/runtime/arena.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/scaling/cost_rows.hpp"

namespace kantorch::cpu {

template <class T>
bool is_streamed(const CostBatch<T>& cost) noexcept {
  return cost.points.given() && is_streamed(cost.rows, cost.cols);
}

template <class Solver, class T>
Index bytes_per_problem(const ScalingProblem<T>& problem) noexcept {
  const CostBatch<T>& cost = problem.cost;
  Arena arena(nullptr);
  if (is_streamed(cost)) {
    const typename Solver::template Workspace<typename Solver::Streamed> work(arena, problem);
  } else {
    if (cost.points.given()) const DistanceMatrix<T> distances(arena, cost.rows, cost.cols);
    const typename Solver::template Workspace<typename Solver::Stored> work(arena, problem);
  }
  return arena.bytes();
}

template <class Solver, class T>
bool solve_problem(const ScalingProblem<T>& problem, Index k, const ScalingResult& result,
                   void* memory, const Cpu& exec) noexcept {
  using Stored = typename Solver::Stored;
  using Streamed = typename Solver::Streamed;
  const CostBatch<T>& cost = problem.cost;
  Arena arena(memory);
  if (!cost.points.given())
    return Solver::template solve<Stored>(problem, k, cost[k], result, arena, exec);
  if (is_streamed(cost))
    return Solver::template solve<Streamed>(problem, k, cost.points[k], result, arena, exec);
  DistanceMatrix<T> distances(arena, cost.rows, cost.cols);
  return distances.fill(cost.points[k], exec) &&
         Solver::template solve<Stored>(problem, k, distances.view(), result, arena, exec);
}

template <class Solver, class T>
Index scaling_workspace(const ScalingProblem<T>& problem, int threads) noexcept {
  return workspace_of(problem.cost, bytes_per_problem<Solver>(problem), threads);
}

template <class Solver, class T>
Outcome solve_scaling(const ScalingProblem<T>& problem, const ScalingResult& result,
                      void* workspace, const Cpu& exec) noexcept {
  return solve_batch(problem.cost, bytes_per_problem<Solver>(problem), workspace, exec,
                     [&](Index k, void* memory, const Cpu& inner) {
                       return solve_problem<Solver>(problem, k, result, memory, inner);
                     });
}

}  // namespace kantorch::cpu
