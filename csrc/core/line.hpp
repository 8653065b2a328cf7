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
};

// In time O((n + m) log(n + m)) and memory O(n + m), in float64.
template <class T>
[[nodiscard]] Outcome line(const LineProblem<T>& problem, const ExactResult& result,
                           const Cpu& exec) noexcept;

}  // namespace kantorch
