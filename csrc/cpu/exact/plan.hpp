// From a support to the answer: plan, duals of all points, and the check of both.
#pragma once

#include "core/exact.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/support.hpp"

namespace kantorch::cpu::network {

// Where the answer of one problem goes: its slice of an ExactResult.
struct Answer {
  double* value;
  double* f;
  double* g;
  std::int64_t* plan_row;
  std::int64_t* plan_col;
  double* plan_mass;
  double* marginal_error;

  Answer(const ExactResult& result, Index problem, Index n, Index m) noexcept;
};

// The duals of all points: the working points' are given, the others are as large as they may be.
// With `repair`, which unfinished work needs, f is first lowered to what g allows. False if
// stopped.
template <class T>
bool write_duals(const Instance<T>& instance, Support& support, bool repair, const Cpu& exec,
                 const Answer& answer);

// Whether no dual was cut at the end of the range, which would make it infeasible or, at a working
// point, not optimal.
template <class T>
bool holds_duals(const Instance<T>& instance, const Answer& answer) noexcept;

// What separates a plan from its duals, in working units and for a mass of 1.
struct Gap {
  double slack;    // sum P (c - f - g) over the cells of the support
  double beside;   // the same over the other cells
  double missing;  // what the mass that is not shipped is worth to the duals
  double dearest;  // of all costs that are paid, or due to points of hardly any mass; not negative
};

// The plan on the support for the given weights, which working weights only approximate, with
// marginal error and value: at the cost as given, of which the instance may hold a copy.
template <class T>
Gap write_plan(const Instance<T>& instance, const MatrixView<T>& cost, const Support& support,
               const double* a, const double* b, const Answer& answer);

// The same for a problem without mass.
template <class T>
bool write_empty(const Instance<T>& instance, const Cpu& exec, const Answer& answer);

}  // namespace kantorch::cpu::network
