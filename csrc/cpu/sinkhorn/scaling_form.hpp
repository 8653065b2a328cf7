// Sinkhorn's iteration in its stabilised scaling form.
//
// K_ij = exp(F_i + G_j - rate C_ij) is stored and the scalings u, v with P_ij = a_i u_i K_ij b_j
// v_j are iterated by products with K. When they leave a safe range the iteration is made again in
// the log domain and K is rebuilt, with u = v = 1, from the new potentials F, G (Schmitzer, SIAM J.
// Sci. Comput. 41, 2019).
#pragma once

#include "cpu/scaling/gibbs_passes.hpp"

namespace kantorch::cpu {

template <class T>
class ScalingForm {
 public:
  static constexpr bool second_order = true;  // Newton's method may use the kernel's memory
  static constexpr double smallest_error = 0;

  // `kernel` holds n row_stride<T>(m) numbers.
  ScalingForm(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, T* kernel) noexcept;

  // Starts from potentials that the form owns until `finish`. The next iteration needs G only.
  void start(const double* a, const double* b, double* f, double* g) noexcept;

  // One iteration, rows first, with the relaxation omega (1: the plain one). `error` is the L1
  // error of the marginals of the plan before the iteration, columns after the row update; infinite
  // if it is not known.
  bool step(double omega, double* error) noexcept;

  // Puts the scalings into the potentials.
  void finish() noexcept;

  // Starting anew from the potentials is all that makes the iterations more precise.
  void refine() noexcept {}

  // How many times the kernel was built.
  Index builds() const noexcept { return builds_; }

 private:
  bool log_step() noexcept;
  bool build() noexcept;

  GibbsPasses<T>& passes_;
  Index rows_;
  Index cols_;
  T* kernel_;
  double* u_;
  double* v_;
  double* v_next_;
  T* w_;
  struct ScalingRange* ranges_;
  const double* a_ = nullptr;
  const double* b_ = nullptr;
  double* f_ = nullptr;
  double* g_ = nullptr;
  bool stored_ = false;
  bool fresh_ = false;    // no iteration since the start: F is not known
  bool settled_ = false;  // the last iteration in the log domain moved no potential far
  Index builds_ = 0;
};

}  // namespace kantorch::cpu
