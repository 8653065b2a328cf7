#include "core/ipot.hpp"

#include "cuda/ipot/kernel.hpp"
#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/launch_bound.hpp"

namespace kantorch {
namespace cuda {
namespace {

// A lane holds 32 or 64 numbers of E in its registers.
using IpotSmall = Tile<1, 8, 4, 8>;    // 32 x 32
using IpotMedium = Tile<2, 8, 4, 16>;  // 64 x 64

template <class Shape, class T>
bool fits(const CostBatch<T>& cost) {
  return cost.rows <= Shape::rows && cost.cols <= Shape::cols;
}

}  // namespace
}  // namespace cuda

template <class T>
Index ipot_workspace(const IpotProblem<T>& problem, const Cuda&) {
  const CostBatch<T>& cost = problem.cost;
  if (cuda::fits<cuda::IpotMedium>(cost)) return 0;
  return cost.batch * cuda::ipot_vector_count(cost.rows, cost.cols) *
         static_cast<Index>(sizeof(double));
}

template <class T>
void ipot(const IpotProblem<T>& given, const ScalingResult& result, void* workspace,
          const Cuda& exec) {
  const IpotProblem<T> problem = cuda::bounded(given);
  const CostBatch<T>& cost = problem.cost;
  if (cuda::fits<cuda::IpotSmall>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipIpot<T, cuda::IpotSmall>{problem, result});
  } else if (cuda::fits<cuda::IpotMedium>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipIpot<T, cuda::IpotMedium>{problem, result});
  } else {
    cuda::launch(exec, cost.batch,
                 cuda::StreamedIpot<T>{problem, result, static_cast<double*>(workspace)});
  }
}

template Index ipot_workspace(const IpotProblem<float>&, const Cuda&);
template Index ipot_workspace(const IpotProblem<double>&, const Cuda&);
template void ipot(const IpotProblem<float>&, const ScalingResult&, void*, const Cuda&);
template void ipot(const IpotProblem<double>&, const ScalingResult&, void*, const Cuda&);

}  // namespace kantorch
