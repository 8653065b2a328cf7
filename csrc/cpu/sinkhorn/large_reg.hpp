// Sinkhorn where reg is large beside the spread of the costs.
//
// The plan is then nearly a b^T. Exponentials near 1 and logarithms of sums near 1 would lose as many digits of the
// potentials, which are of the size of the costs, as reg is larger than these. So the iteration is made of what is left
// of both without the 1:
//
//   F_i = -log1p(sum_j b_j expm1(G_j - x_ij)),  x_ij = (C_ij - low) / reg,  and likewise G.
//
// It contracts by (spread / reg)^2: a few iterations are as many as potentials can tell apart.
#pragma once

#include <cmath>

#include "cpu/scaling/gibbs_passes.hpp"
#include "cpu/scaling/result.hpp"

namespace kantorch::cpu {

template <class T>
class LargeReg {
 public:
  LargeReg(const Normalised& problem, GibbsPasses<T>& passes, double* f, double* g) noexcept
      : problem_(problem), passes_(passes), f_(f), g_(g) {
    for (double* mass : {&problem_.mass, &problem_.mass_b}) {
      if (std::abs(*mass - 1) <= mass_rounding) *mass = 1;
    }
  }

  // Whether it is, for the rate of the passes and a start from these potentials. False if it was stopped, as below.
  bool fits(bool* does) noexcept;

  // Then: writes the whole result of problem k.
  bool solve(double tol, Index max_iter, Index k, const ScalingResult& result) noexcept;

 private:
  bool step(double* change) noexcept;
  bool settle_far(Index k, const ScalingResult& result) noexcept;

  // Weights that are meant to have mass 1 miss it by their rounding, of which reg would make a part of the value.
  static constexpr double mass_rounding = sizeof(T) == sizeof(float) ? 0x1p-22 : 0x1p-50;

  Normalised problem_;
  GibbsPasses<T>& passes_;
  double* f_;
  double* g_;
  double low_ = 0;     // the smallest cost
  double spread_ = 0;  // in units of reg
};

}  // namespace kantorch::cpu
