// Launches kernels for problems that do not fit on chip, in teams of as many blocks as the size of a problem is worth.
//
// Bits of a result depend on the order of its sums, and some of these on the number of blocks: so that is given by the
// device and the size of a problem, and not by how many there are.
#pragma once

#include <algorithm>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/streamed.hpp"

namespace kantorch::cuda {

struct Teams {
  Index count;
  int width;  // blocks of each
};

template <class Kernel, class T>
Teams teams_for(const CostBatch<T>& cost, const Cuda& exec) {
  const Index resident = resident_blocks<Kernel>(exec);
  const Index work = cost.rows * cost.cols * (cost.points.given() ? 1 + cost.points.dims : 1);
  const Index width = std::clamp<Index>(work / streamed_block_entries, 1,
                                        std::min(resident, chunk_count(cost.rows)));
  // A block alone waits for nobody, and so may wait for a place.
  const Index room = width == 1 ? 4 * resident : resident / width;
  return {std::min(cost.batch, room), static_cast<int>(width)};
}

template <class Kernel, class T>
Index streamed_workspace(const CostBatch<T>& cost, Index vectors, const Cuda& exec) {
  const Teams teams = teams_for<Kernel>(cost, exec);
  const Index scratch = scratch_size(vectors, cost.rows, cost.cols);
  return teams.count * (team_bytes(teams.width) + scratch * static_cast<Index>(sizeof(double)));
}

// Kernel{problem, result, scratch, rest}, with streamed_workspace's memory.
template <class Kernel, class Problem, class Result, class... Rest>
void launch_streamed(const Cuda& exec, const Problem& problem, const Result& result,
                     void* workspace, const Rest&... rest) {
  const Teams teams = teams_for<Kernel>(problem.cost, exec);
  char* const memory = static_cast<char*>(workspace);
  auto* const scratch = reinterpret_cast<double*>(memory + teams.count * team_bytes(teams.width));
  launch_teams(exec, teams.count, teams.width, memory, Kernel{problem, result, scratch, rest...});
}

}  // namespace kantorch::cuda
