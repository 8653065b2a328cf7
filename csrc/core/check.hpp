// The faults that only the values of the input can show. The first one of each problem is reported:
// costs before the strength, the strength before the weights.
#pragma once

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"

namespace kantorch {

enum class Fault : int {
  none = 0,
  cost_not_finite = 1,
  a_not_finite = 2,
  b_not_finite = 3,
  a_negative = 4,
  b_negative = 5,
  mass_differs = 6,           // value and other are the sums of a and b
  strength_not_positive = 7,  // reg or beta: not finite and positive
  mass_overflow = 8,          // the sum of a (value) or b (other) is not finite
};

struct Finding {
  Fault fault = Fault::none;
  Index row = 0;
  Index col = 0;
  double value = 0;
  double other = 0;
};

template <class T>
struct CheckProblem {
  CostBatch<T> cost;  // of points, only the sizes count
  VectorBatch<T> a;
  VectorBatch<T> b;
  const double* strength = nullptr;  // (B) reg or beta, or none
};

// Largest relative difference of the masses that is taken as rounding.
constexpr double mass_tolerance = 1e-5;

template <class T>
Index check_workspace(const CheckProblem<T>& problem, int threads) noexcept;

// `findings` is (B).
template <class T>
[[nodiscard]] Outcome check(const CheckProblem<T>& problem, Finding* findings, void* workspace,
                            const Cpu& exec) noexcept;

}  // namespace kantorch
