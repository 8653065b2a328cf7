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

// The plan on the support for the given weights, which working weights only approximate, with value
// and marginal error. Returns sum P (c - f - g) / mass over the working points, in working units:
// together with the marginal error this is the duality gap.
template <class T>
double write_plan(const Instance<T>& instance, const Support& support, const double* a,
                  const double* b, const Answer& answer);

// The same for a problem without mass.
template <class T>
bool write_empty(const Instance<T>& instance, const Cpu& exec, const Answer& answer);

}  // namespace kantorch::cpu::network
