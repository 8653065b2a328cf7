#include "core/ipot.hpp"

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

}  // namespace
}  // namespace cuda

template <class T>
Index ipot_workspace(const ScalingProblem<T>& problem, const Cuda& exec) {
  const CostBatch<T>& cost = problem.cost;
  using Tiles = cuda::IpotTiles<T>;
  if (cuda::fits<typename Tiles::Small>(cost) || cuda::fits<typename Tiles::Medium>(cost)) return 0;
  return cuda::streamed_workspace<cuda::StreamedIpot<T>>(
      cost, cuda::ipot_vector_count(cost.rows, cost.cols), exec);
}

template <class T>
void ipot(const ScalingProblem<T>& given, const ScalingResult& result, void* workspace,
          const Cuda& exec) {
  using Tiles = cuda::IpotTiles<T>;
  const ScalingProblem<T> problem = cuda::bounded(given);
  const CostBatch<T>& cost = problem.cost;
  if (cuda::fits<typename Tiles::Small>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipIpot<T, typename Tiles::Small>{problem, result});
  } else if (cuda::fits<typename Tiles::Medium>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipIpot<T, typename Tiles::Medium>{problem, result});
  } else {
    cuda::launch_streamed<cuda::StreamedIpot<T>>(exec, problem, result, workspace);
  }
}

template Index ipot_workspace(const ScalingProblem<float>&, const Cuda&);
template Index ipot_workspace(const ScalingProblem<double>&, const Cuda&);
template void ipot(const ScalingProblem<float>&, const ScalingResult&, void*, const Cuda&);
template void ipot(const ScalingProblem<double>&, const ScalingResult&, void*, const Cuda&);

}  // namespace kantorch
