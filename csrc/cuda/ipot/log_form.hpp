// IPOT's steps in the log domain alone, for problems that do not fit on chip: the cost is gone through once, or
// computed from the points, in every step, and nothing of its size is stored.
#pragma once

#include "cuda/ipot/iterate.hpp"
#include "cuda/scaling/streamed_iteration.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class IpotLog {
 public:
  using Iterate = IpotIterate<Team, T>;

  KANTORCH_DEVICE IpotLog(Iterate& iterate, const StreamedScratch& scratch)
      : iterate_(iterate), iteration_(iterate.passes, scratch) {}

  // As in IpotPower.
  KANTORCH_DEVICE void restart() { iteration_.start(); }
  KANTORCH_DEVICE void advance(Index last) {
    while (iterate_.t < last) {
      iterate_.extrapolate();
      double error;
      iteration_(1, &error);
      iterate_.accept();
    }
  }

 private:
  Iterate& iterate_;
  StreamedIteration<Team, T> iteration_;
};

}  // namespace kantorch::cuda
