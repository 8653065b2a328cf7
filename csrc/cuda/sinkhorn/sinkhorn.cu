#include "core/sinkhorn.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cuda/runtime/launch.hpp"
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

// A launch cannot be interrupted: on chip, so many iterations take some tenths of a second.
constexpr Index most_iterations = Index{1} << 18;

// With a tolerance, what is left out shows as max_iterations.
template <class T>
SinkhornProblem<T> bounded(SinkhornProblem<T> problem) {
  if (problem.max_iter > most_iterations && !(problem.tol > 0))
    throw std::invalid_argument("max_iter must be at most " + std::to_string(most_iterations) +
                                " on CUDA with tol = 0, got " + std::to_string(problem.max_iter));
  problem.max_iter = std::min(problem.max_iter, most_iterations);
  return problem;
}

}  // namespace
}  // namespace cuda

template <class T>
Index sinkhorn_workspace(const SinkhornProblem<T>& problem, const Cuda&) {
  const CostBatch<T>& cost = problem.cost;
  if (cuda::is_on_chip(cost)) return 0;
  return cost.batch * cuda::vector_count(cost.rows, cost.cols) * static_cast<Index>(sizeof(double));
}

template <class T>
void sinkhorn(const SinkhornProblem<T>& given, const ScalingResult& result, void* workspace,
              const Cuda& exec) {
  using Tiles = cuda::Tiles<T>;
  const SinkhornProblem<T> problem = cuda::bounded(given);
  const CostBatch<T>& cost = problem.cost;
  if (cuda::fits<typename Tiles::Small>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipSinkhorn<T, typename Tiles::Small>{problem, result});
  } else if (cuda::fits<typename Tiles::Medium>(cost)) {
    cuda::launch(exec, cost.batch,
                 cuda::OnChipSinkhorn<T, typename Tiles::Medium>{problem, result});
  } else if (cuda::fits<typename Tiles::Large>(cost)) {
    cuda::launch(exec, cost.batch, cuda::OnChipSinkhorn<T, typename Tiles::Large>{problem, result});
  } else {
    cuda::launch(exec, cost.batch,
                 cuda::StreamedSinkhorn<T>{problem, result, static_cast<double*>(workspace)});
  }
}

template Index sinkhorn_workspace(const SinkhornProblem<float>&, const Cuda&);
template Index sinkhorn_workspace(const SinkhornProblem<double>&, const Cuda&);
template void sinkhorn(const SinkhornProblem<float>&, const ScalingResult&, void*, const Cuda&);
template void sinkhorn(const SinkhornProblem<double>&, const ScalingResult&, void*, const Cuda&);

}  // namespace kantorch
