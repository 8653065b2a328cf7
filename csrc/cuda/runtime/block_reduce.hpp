// Sums and searches of a block, one after the other. They order no memory: a block of one warp needs no sync for them.
#pragma once

#include "cuda/runtime/collective.hpp"

namespace kantorch::cuda {

template <class Team>
class BlockReduce {
 public:
  static constexpr int most_warps = 32;

  KANTORCH_DEVICE explicit BlockReduce(Team& team)
      : team_(team), parts_(team.template shared<double>(2 * most_warps)) {}
  static KANTORCH_BOTH constexpr Index bytes() { return shared_bytes<double>(2 * most_warps); }

  // Memory is taken in turns: before it is written again, a sync has shown that everybody has read it.
  template <class Op>
  KANTORCH_DEVICE double operator()(double x, Op op) {
    turn_ ^= 1;
    return reduce_block(team_, x, op, parts_ + turn_ * most_warps);
  }

  KANTORCH_DEVICE bool any(bool x) { return (*this)(x ? 1 : 0, Max{}) > 0; }

 private:
  Team& team_;
  double* parts_;
  int turn_ = 0;
};

}  // namespace kantorch::cuda
