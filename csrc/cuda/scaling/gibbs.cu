#include "core/gibbs.hpp"

#include <algorithm>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/cost_at.hpp"
#include "cuda/scaling/exponential.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch {
namespace cuda {
namespace {

constexpr int block_threads = 128;
constexpr Index block_entries = 4096;  // about

// A block makes some rows of a plan.
template <class T>
struct Gibbs {
  static constexpr int threads = block_threads;

  GibbsProblem<T> problem;
  T* plan;
  Index rows;   // of a block
  Index parts;  // blocks of a problem

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.cost.rows, m = problem.cost.cols;
    const Index k = team.block() / parts, first = team.block() % parts * rows;
    const Index last = first + rows < n ? first + rows : n;
    const CostOf<T> cost(problem.cost, k);
    const double rate = rate_of(problem.eps[k]);
    const double* const f = problem.f[k];
    const double* const g = problem.g[k];
    const T* const x = problem.x[k];
    const T* const y = problem.y[k];
    for (Index i = first + team.warp(); i < last; i += team.warps()) {
      for (Index j = team.lane(); j < m; j += warp_size) {
        T entry = 0;
        if (x[i] != 0 && y[j] != 0) {
          // As the result was measured, see GibbsPasses::entry.
          const double scaled = rate * static_cast<double>(cost(i, j));
          const T power =
              exponential<T>(team, (to_units(f[i], rate) + to_units(g[j], rate)) - scaled);
          // In this order, as the product of the weights alone may leave the range.
          entry = static_cast<T>(static_cast<double>(x[i]) * static_cast<double>(power) *
                                 static_cast<double>(y[j]));
        }
        plan[(k * n + i) * m + j] = entry;
      }
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
void gibbs(const GibbsProblem<T>& problem, T* plan, const Cuda& exec) {
  const CostBatch<T>& cost = problem.cost;
  const Index rows = std::clamp(cuda::block_entries / cost.cols, Index{1}, cost.rows);
  const Index parts = (cost.rows + rows - 1) / rows;
  cuda::launch(exec, cost.batch * parts, cuda::Gibbs<T>{problem, plan, rows, parts});
}

template void gibbs(const GibbsProblem<float>&, float*, const Cuda&);
template void gibbs(const GibbsProblem<double>&, double*, const Cuda&);

}  // namespace kantorch
