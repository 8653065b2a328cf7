// A running launch cannot be interrupted, so its iterations are limited.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/view.hpp"

namespace kantorch::cuda {

constexpr Index most_iterations = Index{1} << 18;  // on chip, some tenths of a second

// A problem as a launch solves it. With a tolerance, what is left out shows as max_iterations.
template <class Problem>
Problem bounded(Problem problem) {
  if (problem.max_iter > most_iterations && !(problem.tol > 0))
    throw std::invalid_argument("max_iter must be at most " + std::to_string(most_iterations) +
                                " on CUDA with tol = 0, got " + std::to_string(problem.max_iter));
  problem.max_iter = std::min(problem.max_iter, most_iterations);
  return problem;
}

}  // namespace kantorch::cuda
