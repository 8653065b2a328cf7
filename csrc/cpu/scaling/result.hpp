// From potentials in units of eps to the verified result of a problem.
#pragma once

#include "core/scaling.hpp"
#include "cpu/scaling/gibbs_passes.hpp"

namespace kantorch::cpu {

// A problem scaled to mass 1. Its potentials F, G are in units of eps.
struct Normalised {
  Index n;
  Index m;
  double* a;
  double* b;
  double mass;    // of a
  double mass_b;  // of b as given
  double eps;
};

// Writes f, g, eps, row_sum, col_sum, value, value_linear and marginal_error of problem k, all
// measured on the potentials as they are returned. F and G are overwritten. False if it was
// stopped.
template <class T>
bool write_result(const Normalised& problem, GibbsPasses<T>& passes, double* f, double* g, Index k,
                  const ScalingResult& result) noexcept;

// Whether the value that was written is that of the potentials, see common/scaling_rules.hpp.
bool has_digits(const Normalised& problem, Index k, const ScalingResult& result) noexcept;

// Where the rounding of the written potentials alone, in units of eps, makes the sums of the plan
// anything: writes the result again, at the smallest eps at which they still determine a plan. What
// `coarser` tells is then the limit of the precision. F and G are overwritten. False if it was
// stopped.
template <class T>
bool coarsen_result(const Normalised& problem, GibbsPasses<T>& passes, double* f, double* g,
                    Index k, const ScalingResult& result, bool* coarser) noexcept;

// Where even that plan is anything: tells the strength to solve the problem with instead, see common/scaling_rules.hpp; 0
// where the result stands. False if it was stopped.
template <class T>
bool raise_strength(const Normalised& problem, GibbsPasses<T>& passes, double strength, Index k,
                    const ScalingResult& result, double* raised) noexcept;

// The result of a problem without mass: a zero plan.
void write_empty_result(const Normalised& problem, Index k, const ScalingResult& result) noexcept;

// f_i, g_j in the unit of the cost; clamped, so that they are finite.
double to_units(double x, double rate) noexcept;

}  // namespace kantorch::cpu
