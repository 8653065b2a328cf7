// Sinkhorn's iteration in the log domain, for problems whose kernel does not fit into the registers of a block: the cost
// is gone through once, or computed from the points, in every iteration, and nothing of its size is stored.
#pragma once

#include "cuda/scaling/streamed_iteration.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class LogForm {
 public:
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE LogForm(Passes& passes, const StreamedScratch& scratch)
      : iteration_(passes, scratch) {}

  // As in ScalingForm; the potentials are kept up to date.
  KANTORCH_DEVICE void start() {
    fresh_ = true;
    iteration_.start();
  }
  KANTORCH_DEVICE void finish() { iteration_.finish(); }

  KANTORCH_DEVICE void step(double omega, double* error) {
    if (fresh_) omega = 1;
    iteration_(omega, error);
    if (fresh_) *error = infinity;
    fresh_ = false;
  }

 private:
  StreamedIteration<Team, T> iteration_;
  bool fresh_ = false;  // no iteration since the start: F is not known
};

}  // namespace kantorch::cuda
