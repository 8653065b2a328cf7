// Columns of a row that is shared out among lanes, each with `Count` of them in its registers, `Lanes` apart.
//
// The last few columns, some of which not all lanes have, are the first in the registers: so these alone have to ask
// whether a column is there, and wherever the row ends, others lie at distances that are known beforehand.
#pragma once

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

template <int Count, int Lanes>
class LaneColumns {
 public:
  static constexpr int count = Count, lanes = Lanes;

  KANTORCH_DEVICE LaneColumns(int rank, int m)
      : rank_(rank), left_(m - rank), tail_((m - 1) / (together * Lanes) * (together * Lanes)) {}

  // The lane's place: its columns are rank() + multiples of `lanes`.
  KANTORCH_DEVICE int rank() const { return rank_; }

  // body(k, offset, is_there): register k is that of column rank() + offset, if it is there.
  template <class Body>
  KANTORCH_DEVICE void each(const Body& body) const {
    KANTORCH_UNROLL
    for (int k = 0; k < together; ++k) body(k, tail_ + k * Lanes, tail_ + k * Lanes < left_);
    KANTORCH_UNROLL
    for (int first = 0; first + together < Count; first += together) {
      if (first * Lanes >= tail_) continue;
      KANTORCH_UNROLL
      for (int k = first; k < first + together; ++k) body(together + k, k * Lanes, true);
    }
  }

 private:
  static constexpr int together = 4;
  static_assert(Count % together == 0);

  int rank_;
  int left_;  // columns from that place on
  int tail_;  // the first of the last columns
};

}  // namespace kantorch::cuda
