#include "core/ipot.hpp"

#include <algorithm>

#include "cuda/ipot/kernel.hpp"
#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/launch_bound.hpp"
#include "cuda/scaling/launch_streamed.hpp"

namespace kantorch {
namespace cuda {
namespace {

// E takes 32 or 64 registers of a lane; 64 numbers of it in double would not leave enough for the rest.
template <class T>
struct IpotTiles {
  using Small = Tile<1, 8, 4, 8>;                                     // 32 x 32
  using Medium = Tile<2, 8, 4, sizeof(T) == sizeof(float) ? 16 : 8>;  // 64 x 64 or 64 x 32
};

template <class Shape, class T>
bool fits(const CostBatch<T>& cost) {
  return cost.rows <= Shape::rows && cost.cols <= Shape::cols;
}

template <class T>
bool is_on_chip(const CostBatch<T>& cost) {
  return fits<typename IpotTiles<T>::Small>(cost) || fits<typename IpotTiles<T>::Medium>(cost);
}

template <class T>
void solve(const Cuda& exec, const ScalingProblem<T>& problem, const ScalingResult& result,
           void* workspace, bool again) {
  using Tiles = IpotTiles<T>;
  const CostBatch<T>& cost = problem.cost;
  if (fits<typename Tiles::Small>(cost)) {
    launch(exec, cost.batch, OnChipIpot<T, typename Tiles::Small>{problem, result, again});
  } else if (fits<typename Tiles::Medium>(cost)) {
    launch(exec, cost.batch, OnChipIpot<T, typename Tiles::Medium>{problem, result, again});
  } else {
    launch_streamed<StreamedIpot<T>>(exec, problem, result, workspace, again);
  }
}

struct AnyTeam;

}  // namespace
}  // namespace cuda

template <class T>
Index ipot_workspace(const ScalingProblem<T>& problem, const Cuda& exec) {
  const CostBatch<T>& cost = problem.cost;
  const Index n = cost.rows, m = cost.cols;
  const Index first = cuda::is_on_chip(cost) ? 0
                                             : cuda::streamed_workspace<cuda::StreamedIpot<T>>(
                                                   cost, cuda::ipot_vector_count(n, m), exec);
  const Index then = cuda::finishing(problem) *
                     cuda::FinishIpot<T>::template doubles<cuda::AnyTeam>(n, m) *
                     static_cast<Index>(sizeof(double));
  return std::max(first, then);
}

template <class T>
void ipot(const ScalingProblem<T>& given, const ScalingResult& result, void* workspace,
          const Cuda& exec) {
  const ScalingProblem<T> problem = cuda::bounded(given);
  cuda::solve(exec, problem, result, workspace, false);
  if (const Index blocks = cuda::finishing(problem); blocks > 0) {
    cuda::launch(exec, blocks,
                 cuda::FinishIpot<T>{problem, result, static_cast<double*>(workspace)});
    cuda::solve(exec, problem, result, workspace, true);
  }
}

template Index ipot_workspace(const ScalingProblem<float>&, const Cuda&);
template Index ipot_workspace(const ScalingProblem<double>&, const Cuda&);
template void ipot(const ScalingProblem<float>&, const ScalingResult&, void*, const Cuda&);
template void ipot(const ScalingProblem<double>&, const ScalingResult&, void*, const Cuda&);

}  // namespace kantorch
