// Sums and searches of a team, one after the other. They order no memory: a team of one warp needs no sync for them.
#pragma once

#include "cuda/runtime/collective.hpp"

namespace kantorch::cuda {

template <class Team>
class TeamReduce {
 public:
  static constexpr int most_warps = 32;

  KANTORCH_DEVICE explicit TeamReduce(Team& team)
      : team_(team), parts_(team.template shared<double>(2 * most_warps)) {}
  static KANTORCH_BOTH constexpr Index bytes() { return shared_bytes<double>(2 * most_warps); }

  // Memory is taken in turns: before it is written again, a sync has shown that everybody has read it.
  template <class Op>
  KANTORCH_DEVICE double operator()(double x, Op op) {
    turn_ ^= 1;
    x = reduce_block(team_, x, op, parts_ + turn_ * most_warps);
    if (team_.width() == 1) return x;
    double* const parts = team_.parts(turn_);
    if (team_.block_rank() == 0) parts[team_.place()] = x;
    team_.sync();
    x = Op::nothing;
    for (int place = team_.lane(); place < team_.width(); place += warp_size)
      x = op(x, parts[place]);
    return reduce_lanes(team_, x, op);
  }

  KANTORCH_DEVICE bool any(bool x) { return (*this)(x ? 1 : 0, Max{}) > 0; }

 private:
  Team& team_;
  double* parts_;
  int turn_ = 0;
};

}  // namespace kantorch::cuda
