#include "core/exact.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "cuda/exact/kernel.hpp"
#include "cuda/runtime/launch.hpp"

namespace kantorch {
namespace cuda {
namespace {

// Up to so many nodes a tree stays on chip. Larger ones, (n + m)^2 / 8 bytes of ancestors, lie in the workspace, where the
// same code finds them: right for any size, but a pivot then reads them from the cache or beyond, and is no faster than
// one of the CPU.
constexpr Index small_nodes = 128;
constexpr Index medium_nodes = 256;
constexpr Index large_nodes = 512;

template <class T>
Index node_count(const CostBatch<T>& cost) {
  return cost.rows + cost.cols;
}

// A launch cannot be interrupted: what is left out shows as max_iterations.
template <class T>
Index pivot_limit(const ExactProblem<T>& problem) {
  const Index most = std::max<Index>(Index{1} << 16, 50 * node_count(problem.cost));
  return problem.max_iter < 0 ? most : std::min(problem.max_iter, most);
}

template <class Kernel, class T>
void launch_exact(const ExactProblem<T>& problem, const ExactResult& result, void* workspace,
                  const Cuda& exec) {
  launch(exec, problem.cost.batch,
         Kernel{problem, result, pivot_limit(problem), static_cast<char*>(workspace)});
}

}  // namespace
}  // namespace cuda

template <class T>
Index exact_workspace(const ExactProblem<T>& problem, const Cuda&) {
  const Index nodes = cuda::node_count(problem.cost);
  return nodes <= cuda::large_nodes ? 0 : problem.cost.batch * cuda::network::Tree::bytes(nodes);
}

template <class T>
void exact(const ExactProblem<T>& problem, const ExactResult& result, void* workspace,
           const Cuda& exec) {
  const Index nodes = cuda::node_count(problem.cost);
  if (nodes > std::numeric_limits<int>::max() / 2)
    throw std::invalid_argument("cost must have fewer than 2^30 rows and columns on CUDA");
  if (nodes <= cuda::small_nodes) {
    cuda::launch_exact<cuda::ExactKernel<T, cuda::small_nodes, 1>>(problem, result, workspace,
                                                                   exec);
  } else if (nodes <= cuda::medium_nodes) {
    cuda::launch_exact<cuda::ExactKernel<T, cuda::medium_nodes, 4>>(problem, result, workspace,
                                                                    exec);
  } else if (nodes <= cuda::large_nodes) {
    cuda::launch_exact<cuda::ExactKernel<T, cuda::large_nodes, 8>>(problem, result, workspace,
                                                                   exec);
  } else {
    cuda::launch_exact<cuda::ExactKernel<T, 0, 8>>(problem, result, workspace, exec);
  }
}

template Index exact_workspace(const ExactProblem<float>&, const Cuda&);
template Index exact_workspace(const ExactProblem<double>&, const Cuda&);
template void exact(const ExactProblem<float>&, const ExactResult&, void*, const Cuda&);
template void exact(const ExactProblem<double>&, const ExactResult&, void*, const Cuda&);

}  // namespace kantorch
