// Sinkhorn's iteration in the log domain, for costs that are not stored: the distances between
// points are computed anew in every iteration, and memory stays at O(n + m).
#pragma once

#include "cpu/gibbs_passes.hpp"

namespace kantorch::cpu {

template <class T>
class LogForm {
 public:
  static constexpr bool second_order = false;  // Newton's method would store a matrix

  LogForm(Arena& arena, GibbsPasses<T>& passes, Index n, Index m) noexcept;

  // As in ScalingForm; the potentials are kept up to date.
  void start(const double* a, const double* b, double* f, double* g) noexcept;
  bool step(double omega, double* error) noexcept;
  void finish() noexcept {}

  // Until the next start all iterations are made in double, as the last of a fixed number has to
  // be.
  void refine() noexcept { refined_ = true; }

 private:
  bool refined_step(double omega, double* error) noexcept;
  bool in_reach() noexcept;

  GibbsPasses<T>& passes_;
  Index rows_;
  Index cols_;
  double* offset_;  // F and G in units of log_unit, F as double and G in T
  T* g_offset_;
  T* w_;
  double* u_;
  double* v_;
  double* ones_;
  struct ScalingRange* ranges_;
  const double* a_ = nullptr;
  const double* b_ = nullptr;
  double* f_ = nullptr;
  double* g_ = nullptr;
  bool settled_ = false;  // the last iteration moved no potential far
  bool refined_ = false;
};

}  // namespace kantorch::cpu
