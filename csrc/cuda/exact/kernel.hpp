// The exact solver, one problem a block.
#pragma once

#include "cuda/exact/solve.hpp"

namespace kantorch::cuda {

template <class Team>
struct SharedMemory {
  Team& team;

  template <class X>
  KANTORCH_DEVICE X* take(Index count) {
    return team.template shared<X>(count);
  }
};

struct DeviceMemory {
  char* at;

  template <class X>
  KANTORCH_BOTH X* take(Index count) {
    char* const piece = at;
    at += shared_bytes<X>(count);
    return reinterpret_cast<X*>(piece);
  }
};

// For problems of up to Nodes rows and columns together, which stay on chip; 0: for any, which have their trees in
// `workspace`.
template <class T, int Nodes, int Warps>
struct ExactKernel {
  static constexpr int threads = Warps * warp_size;

  ExactProblem<T> problem;
  ExactResult result;
  Index most_pivots;
  char* workspace;

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    network::Block<Team> block(team);
    auto* const entering = team.template shared<network::Entering>(1);
    const Index nodes = problem.cost.rows + problem.cost.cols;
    network::Tree tree;
    if constexpr (Nodes > 0) {
      SharedMemory<Team> memory{team};
      tree = network::Tree::in(memory, nodes);
    } else {
      DeviceMemory memory{workspace + team.block() * network::Tree::bytes(nodes)};
      tree = network::Tree::in(memory, nodes);
    }
    network::Solve<Team, T>(block, problem, team.block(), tree, entering, result).run(most_pivots);
  }
  template <class Team>
  static constexpr Index bytes() {
    return network::Block<Team>::bytes() + shared_bytes<network::Entering>(1) +
           (Nodes > 0 ? network::Tree::bytes(Nodes) : 0);
  }
};

}  // namespace kantorch::cuda
