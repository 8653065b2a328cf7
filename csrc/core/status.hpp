// What a solver answers beside the result.
#pragma once

namespace kantorch {

// Per problem; the numbers are part of the public contract (kantorch.Status).
enum class Status : int {
  optimal = 0,           // exact: proved to 1e-12 of the costs that an optimal plan can pay
  converged = 1,         // the tolerance was reached, verified on the returned potentials
  fixed_iterations = 2,  // tol = 0: exactly max_iter plain iterations were made
  max_iterations = 3,    // max_iter was reached before the tolerance
  precision_limit = 4,   // the arithmetic can get no closer; marginal_error tells how close
  bad_input = 5,         // CUDA only: on the CPU bad input is an error
};

// Per call.
enum class Outcome : int { done = 0, interrupted = 1, out_of_memory = 2 };

}  // namespace kantorch
