// IPOT's steps in the log domain alone, for problems that do not fit on chip: the cost is gone through once, or
// computed from the points, in every step, and nothing of its size is stored.
#pragma once

#include "cuda/ipot/iterate.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class IpotLog {
 public:
  using Iterate = IpotIterate<Team, T>;

  KANTORCH_DEVICE explicit IpotLog(Iterate& iterate) : iterate_(iterate) {}
  static KANTORCH_BOTH constexpr Index bytes() { return 0; }

  // As in IpotPower.
  KANTORCH_DEVICE void restart() {}
  KANTORCH_DEVICE void advance(Index last) {
    while (iterate_.t < last) iterate_.streamed_step();
  }

 private:
  Iterate& iterate_;
};

}  // namespace kantorch::cuda
