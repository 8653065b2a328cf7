// Sums and searches of the lanes of a warp or a block. The same bits in every lane, and in every run: the order of
// additions depends on sizes alone.
#pragma once

#include <limits>

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

// `nothing` is what changes no double.
struct Sum {
  static constexpr double nothing = 0;
  template <class T>
  KANTORCH_DEVICE T operator()(T x, T y) const {
    return x + y;
  }
};
struct Min {
  static constexpr double nothing = std::numeric_limits<double>::infinity();
  template <class T>
  KANTORCH_DEVICE T operator()(T x, T y) const {
    return y < x ? y : x;
  }
};
struct Max {
  static constexpr double nothing = -std::numeric_limits<double>::infinity();
  template <class T>
  KANTORCH_DEVICE T operator()(T x, T y) const {
    return x < y ? y : x;
  }
};

// Over the groups of `lanes` lanes that lie `stride` apart, powers of two. Both lanes of an exchange compute the same
// sum, so all lanes of a group end with the same bits.
template <class Team, class T, class Op>
KANTORCH_DEVICE T reduce_lanes(Team& team, T x, Op op, int lanes = warp_size, int stride = 1) {
  for (int mask = stride; mask < stride * lanes; mask *= 2) x = op(x, team.shuffle_xor(x, mask));
  return x;
}

// Over the block. `parts` is shared memory for a number a warp; two uses in a row must take different ones, or have a
// sync between them.
template <class Team, class T, class Op>
KANTORCH_DEVICE T reduce_block(Team& team, T x, Op op, T* parts) {
  x = reduce_lanes(team, x, op);
  if (team.block_warps() == 1) return x;
  if (team.lane() == 0) parts[team.block_warp()] = x;
  team.sync_block();
  x = parts[0];
  for (int warp = 1; warp < team.block_warps(); ++warp) x = op(x, parts[warp]);
  return x;
}

// Reduces N numbers of each lane at once over groups of `Lanes` lanes that lie `Stride` apart: N (1 - 1/Lanes)
// exchanges, where one by one they would take N log2(Lanes). Afterwards x[k], for k < N / Lanes, holds the result for
// number first_of<N, Lanes, Stride>(lane) + k.
template <int N, int Lanes, int Stride, class Team, class T, class Op>
KANTORCH_DEVICE void reduce_scatter(Team& team, T (&x)[N], Op op) {
  static_assert(N % Lanes == 0, "every lane of a group gets the same number of results");
  int half = N / 2;
  KANTORCH_UNROLL
  for (int mask = Stride * Lanes / 2; mask >= Stride; mask /= 2, half /= 2) {
    const bool upper = (team.lane() & mask) != 0;
    KANTORCH_UNROLL
    for (int k = 0; k < N / 2; ++k) {
      if (k >= half) continue;
      const T sent = upper ? x[k] : x[k + half];
      const T kept = upper ? x[k + half] : x[k];
      x[k] = op(kept, team.shuffle_xor(sent, mask));
    }
  }
}

template <int N, int Lanes, int Stride>
KANTORCH_BOTH constexpr int first_of(int lane) {
  return lane / Stride % Lanes * (N / Lanes);
}

// The way back: from x[k], k < N / Lanes, in each lane of a group to all N numbers in all of its lanes.
template <int N, int Lanes, int Stride, class Team, class T>
KANTORCH_DEVICE void gather(Team& team, T (&x)[N]) {
  static_assert(N % Lanes == 0, "every lane of a group has the same number of values");
  int half = N / Lanes;
  KANTORCH_UNROLL
  for (int mask = Stride; mask < Stride * Lanes; mask *= 2, half *= 2) {
    const bool upper = (team.lane() & mask) != 0;
    KANTORCH_UNROLL
    for (int k = 0; k < N / 2; ++k) {
      if (k >= half) continue;
      const T other = team.shuffle_xor(x[k], mask);
      x[k + half] = upper ? x[k] : other;
      x[k] = upper ? other : x[k];
    }
  }
}

}  // namespace kantorch::cuda
