#include "core/distance_matrix.hpp"

#include <algorithm>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/cost_at.hpp"

namespace kantorch {
namespace cuda {
namespace {

constexpr Index block_entries = 4096;  // about

// A block makes some rows of a problem's costs.
template <class T>
struct DistanceMatrix {
  static constexpr int threads = 128;

  CostBatch<T> cost;
  T* out;
  Index rows;   // of a block
  Index parts;  // blocks of a problem

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = cost.rows, m = cost.cols;
    const Index k = team.block() / parts, first = team.block() % parts * rows;
    const Index last = first + rows < n ? first + rows : n;
    const CostOf<T> entry(cost, k);
    for (Index i = first + team.warp(); i < last; i += team.warps()) {
      for (Index j = team.lane(); j < m; j += warp_size) out[(k * n + i) * m + j] = entry(i, j);
    }
  }
  template <class Team>
  static constexpr Index bytes() {
    return 0;
  }
};

}  // namespace
}  // namespace cuda

template <class T>
void distance_matrix(const CostBatch<T>& cost, T* out, const Cuda& exec) {
  const Index rows = std::clamp(cuda::block_entries / cost.cols, Index{1}, cost.rows);
  const Index parts = (cost.rows + rows - 1) / rows;
  cuda::launch(exec, cost.batch * parts, cuda::DistanceMatrix<T>{cost, out, rows, parts});
}

template void distance_matrix(const CostBatch<float>&, float*, const Cuda&);
template void distance_matrix(const CostBatch<double>&, double*, const Cuda&);

}  // namespace kantorch
