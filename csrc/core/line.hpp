// Unregularised optimal transport between points on a line.
#pragma once

#include "core/exact.hpp"
#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

// The cost of x_i and y_j is |x_i - y_j| or its square. Points are finite, and so is the largest
// cost; weights are as for ExactProblem.
template <class T>
struct LineProblem {
  Index batch = 0;
  Index rows = 0;
  Index cols = 0;
  VectorBatch<T> x;
  VectorBatch<T> y;
  VectorBatch<T> a;
  VectorBatch<T> b;
  bool squared = false;
  VectorBatch<std::int64_t> x_order;  // on CUDA: the indices of the points in their order, equal
  VectorBatch<std::int64_t> y_order;  // ones by index
};

// In time O((n + m) log(n + m)) and memory O(n + m), in float64.
template <class T>
[[nodiscard]] Outcome line(const LineProblem<T>& problem, const ExactResult& result,
                           const Cpu& exec) noexcept;

// The same on a GPU, where bad values end as bad_input.
template <class T>
Index line_workspace(const LineProblem<T>& problem, const Cuda& exec);

template <class T>
void line(const LineProblem<T>& problem, const ExactResult& result, void* workspace,
          const Cuda& exec);

}  // namespace kantorch
