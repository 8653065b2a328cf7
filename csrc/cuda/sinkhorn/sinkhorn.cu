#include "core/sinkhorn.hpp"

#include <algorithm>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/launch_bound.hpp"
#include "cuda/scaling/launch_streamed.hpp"
#include "cuda/sinkhorn/finish.hpp"
#include "cuda/sinkhorn/kernel.hpp"

namespace kantorch {
namespace cuda {
namespace {

// Tiles hold 32 to 128 registers of a kernel's numbers a lane.
template <class T>
struct Tiles;
template <>
struct Tiles<float> {
  using Small = Tile<1, 8, 4, 8>;    // 32 x 32
  using Medium = Tile<2, 8, 4, 16>;  // 64 x 64
  using Large = Tile<4, 8, 4, 32>;   // 128 x 128
};
template <>
struct Tiles<double> {
  using Small = Tile<1, 8, 4, 8>;
  using Medium = Tile<2, 8, 4, 16>;
  using Large = Tile<4, 8, 4, 16>;  // 128 x 64
};

template <class Shape, class T>
bool fits(const CostBatch<T>& cost) {
  return cost.rows <= Shape::rows && cost.cols <= Shape::cols;
}

template <class T>
bool is_on_chip(const CostBatch<T>& cost) {
  return fits<typename Tiles<T>::Medium>(cost) || fits<typename Tiles<T>::Large>(cost);
}

struct AnyTeam;

}  // namespace
}  // namespace cuda

template <class T>
Index sinkhorn_workspace(const ScalingProblem<T>& problem, const Cuda& exec) {
  const CostBatch<T>& cost = problem.cost;
  const Index n = cost.rows, m = cost.cols;
  const Index first = cuda::is_on_chip(cost) ? 0
                                             : cuda::streamed_workspace<cuda::StreamedSinkhorn<T>>(
                                                   cost, cuda::vector_count(n, m), exec);
  const Index then = cuda::finishing(problem) *
                     cuda::FinishSinkhorn<T>::template doubles<cuda::AnyTeam>(n, m) *
                     static_cast<Index>(sizeof(double));
  return std::max(first, then);
}

template <class T>
void sinkhorn(const ScalingProblem<T>& given, const ScalingResult& result, void* workspace,
              const Cuda& exec) {
  using Tiles = cuda::Tiles<T>;
  const ScalingProblem<T> problem = cuda::bounded(given);
  const CostBatch<T>& cost = problem.cost;
  if (cuda::fits<typename Tiles::Small>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipSinkhorn<T, typename Tiles::Small>{problem, result});
  } else if (cuda::fits<typename Tiles::Medium>(cost)) {
    cuda::launch(exec, cost.batch,
                 cuda::OnChipSinkhorn<T, typename Tiles::Medium>{problem, result});
  } else if (cuda::fits<typename Tiles::Large>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipSinkhorn<T, typename Tiles::Large>{problem, result});
  } else {
    cuda::launch_streamed<cuda::StreamedSinkhorn<T>>(exec, problem, result, workspace);
  }
  if (const Index blocks = cuda::finishing(problem); blocks > 0)
    cuda::launch(exec, blocks,
                 cuda::FinishSinkhorn<T>{problem, result, static_cast<double*>(workspace)});
}

template Index sinkhorn_workspace(const ScalingProblem<float>&, const Cuda&);
template Index sinkhorn_workspace(const ScalingProblem<double>&, const Cuda&);
template void sinkhorn(const ScalingProblem<float>&, const ScalingResult&, void*, const Cuda&);
template void sinkhorn(const ScalingProblem<double>&, const ScalingResult&, void*, const Cuda&);

}  // namespace kantorch
