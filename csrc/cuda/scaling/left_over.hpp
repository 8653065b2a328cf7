// Which problems are left to Newton's method, in a launch of its own after the one that iterates.
#pragma once

#include <algorithm>

#include "core/scaling.hpp"
#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

// The smaller side of problems that are worth it. A block has memory of the square of it.
constexpr Index most_newton_points = 512;

KANTORCH_BOTH constexpr bool has_newton(Index n, Index m) {
  return (n < m ? n : m) <= most_newton_points;
}

// What Newton's method takes to the end in plain iterations, roughly; fewer are made to the end. After many have been
// made, nothing: what is expected may be too little, time and again.
KANTORCH_BOTH constexpr double newton_cost(Index n, Index m, Index made) {
  const Index cost = 1000 + 10 * (n < m ? n : m);
  return made > 2 * cost ? 0 : static_cast<double>(cost);
}

// A problem that is left to it looks like one that has reached max_iter, before it did.
KANTORCH_BOTH constexpr bool is_left_over(Status status, Index n_iter, Index max_iter) {
  return status == Status::max_iterations && n_iter < max_iter;
}

// Blocks that run at once, at most; each has memory for one problem.
constexpr Index most_finishing = 256;

// Blocks that finish the problems of a launch.
template <class T>
Index finishing(const ScalingProblem<T>& problem) {
  const bool any = problem.tol > 0 && has_newton(problem.cost.rows, problem.cost.cols);
  return any ? std::min(problem.cost.batch, most_finishing) : 0;
}

}  // namespace kantorch::cuda
