// Sinkhorn's iteration in the log domain, for problems whose kernel does not fit into the registers of a block: the cost
// is gone through once, or computed from the points, in every iteration, and nothing of its size is stored.
#pragma once

#include "cuda/scaling/gibbs_passes.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class LogForm {
 public:
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE explicit LogForm(Passes& passes) : passes_(passes) {}
  static KANTORCH_BOTH constexpr Index bytes() { return 0; }

  // As in ScalingForm; the potentials are kept up to date.
  KANTORCH_DEVICE void start() { fresh_ = true; }
  KANTORCH_DEVICE void finish() {}

  KANTORCH_DEVICE void step(double omega, double* error) {
    if (fresh_) omega = 1;
    passes_.iterate(omega, error);
    if (fresh_) *error = infinity;
    fresh_ = false;
  }

 private:
  Passes& passes_;
  bool fresh_ = false;  // no iteration since the start: F is not known
};

}  // namespace kantorch::cuda
