// Sinkhorn's iteration in the log domain, for costs that are not stored: the distances between
// points are computed anew in every iteration, and memory stays at O((n + m) d).
#pragma once

#include "cpu/scaling/centred_points.hpp"
#include "cpu/scaling/gibbs_passes.hpp"

namespace kantorch::cpu {

template <class T>
class LogForm {
 public:
  static constexpr bool second_order = false;  // Newton's method would store a matrix
  // Smaller errors are seen by refined iterations alone.
  static constexpr double smallest_error = sizeof(T) == sizeof(float) ? 3e-6 : 0;

  LogForm(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, Index dims) noexcept;

  // As in ScalingForm; the potentials are kept up to date.
  void start(const double* a, const double* b, double* f, double* g) noexcept;
  bool step(double omega, double* error) noexcept;
  void finish() noexcept {}

  // Until the next start all iterations are made in double, as the last of a fixed number has to
  // be.
  void refine() noexcept { refined_ = true; }

 private:
  // How the exponents of an iteration are computed.
  enum class Source { refined, differences, products };

  bool guess_rows() noexcept;
  bool refined_step(double omega, double* error) noexcept;
  Source offsets() noexcept;

  GibbsPasses<T>& passes_;
  Index rows_;
  Index cols_;
  Index stride_;
  CentredPoints<T> centred_;
  T* sample_;  // some panels of y, and distances to them for every block
  T* to_sample_;
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
  bool fresh_ = false;    // no iteration since the start: F is not known
  bool settled_ = false;  // the last iteration moved no potential far
  bool refined_ = false;
};

}  // namespace kantorch::cpu
