// How problems that do not fit on chip are shared out among the blocks of a team.
#pragma once

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

constexpr int streamed_threads = 256;
constexpr int streamed_warps = streamed_threads / warp_size;

// A block takes chunks of rows, and the columns' sums of chunks are kept apart: so blocks need not wait for each other, and
// what a sum is does not depend on how many they are.
constexpr Index most_chunks = 128;

KANTORCH_BOTH constexpr Index chunk_rows(Index n) {
  return padded((n + most_chunks - 1) / most_chunks, streamed_warps);
}
KANTORCH_BOTH constexpr Index chunk_count(Index n) {
  return (n + chunk_rows(n) - 1) / chunk_rows(n);
}

// Sums in which what exponentials of float have lost below 2^-126 does not show.
KANTORCH_DEVICE bool is_in_exponential_range(double sum) { return sum > 1e-20 && sum < 1e30; }

// What held_rows.hpp keeps of a block: entries of a lane, and a number of 8 bytes for each column.
template <class T>
constexpr int held_entries = 128 / static_cast<int>(sizeof(T));
template <class T>
constexpr Index most_held_columns = Index{held_entries<T>} * streamed_threads;

struct StreamedScratch {
  double* parts;    // of the team: the columns' sums of chunks of rows
  double* log_b;    // of the team
  double* sums;     // shared by the block: those of a row's warps, in two turns
  double* columns;  // shared by the block: potentials of the columns, as held_rows.hpp takes them

  template <class T>
  static KANTORCH_BOTH constexpr Index bytes() {
    return shared_bytes<double>(2 * streamed_warps) + shared_bytes<double>(most_held_columns<T>);
  }
};

// The scratch of a team in numbers, with `vectors` of them of its problem.
KANTORCH_BOTH constexpr Index scratch_size(Index vectors, Index n, Index m) {
  return vectors + chunk_count(n) * m + m;
}

// The problems of a team, one after the other, and its scratch.
struct TeamProblems {
  Index k;
  Index step;
  double* vectors;
  StreamedScratch scratch;
};

template <class T, class Team>
KANTORCH_DEVICE TeamProblems problems_of(Team& team, double* scratch, Index vectors, Index n,
                                         Index m) {
  const Index number = team.block() / team.width(), teams = team.blocks() / team.width();
  double* const mine = scratch + number * scratch_size(vectors, n, m);
  double* const parts = mine + vectors;
  auto* const sums = team.template shared<double>(2 * streamed_warps);
  auto* const columns = team.template shared<double>(most_held_columns<T>);
  return {number, teams, mine, {parts, parts + chunk_count(n) * m, sums, columns}};
}

}  // namespace kantorch::cuda
