// How problems that do not fit on chip are shared out among the blocks of a team.
#pragma once

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

constexpr int streamed_threads = 256;

// A block takes some rows at a time, each warp one, and then adds up the columns' sums of these. Sums of chunks of rows
// are kept apart: so blocks need not wait for each other, and what a sum is does not depend on how many they are.
constexpr int rows_together = streamed_threads / warp_size;
constexpr Index most_chunks = 128;

KANTORCH_BOTH constexpr Index chunk_rows(Index n) {
  return padded((n + most_chunks - 1) / most_chunks, rows_together);
}
KANTORCH_BOTH constexpr Index chunk_count(Index n) {
  return (n + chunk_rows(n) - 1) / chunk_rows(n);
}

// The scratch of a team: `vectors` numbers of its problem and the columns' sums of the chunks.
KANTORCH_BOTH constexpr Index scratch_size(Index vectors, Index n, Index m) {
  return vectors + chunk_count(n) * m;
}

// The problems of a team, one after the other, and its scratch.
struct TeamProblems {
  Index k;
  Index step;
  double* vectors;
  double* parts;
};

template <class Team>
KANTORCH_DEVICE TeamProblems problems_of(Team& team, double* scratch, Index vectors, Index n,
                                         Index m) {
  const Index number = team.block() / team.width(), teams = team.blocks() / team.width();
  double* const mine = scratch + number * scratch_size(vectors, n, m);
  return {number, teams, mine, mine + vectors};
}

}  // namespace kantorch::cuda
