// The iterates of IPOT on one problem.
//
// At step t the plan is a_i b_j exp(F_i + G_j - t C_ij / beta). In float, F and G are kept relative
// to t times reference potentials, and the reduced cost of these is stored: R_ij = (C_ij - f0_i -
// g0_j) / beta, rounded once from double. It is small where the plan has mass, so float holds t
// R_ij to the digits that matter. The references follow the potentials when those have moved too
// far from them. In double R = C and f0 = g0 = 0.
//
// Small problems in float are iterated on a stored kernel where its range allows it; see
// ipot_kernel.hpp.
#pragma once

#include "cpu/ipot/kernel.hpp"
#include "cpu/scaling/gibbs_passes.hpp"

namespace kantorch::cpu {

template <class T>
class IpotState {
 public:
  // `large` holds buffer(n, m) numbers.
  IpotState(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, T* large) noexcept;

  static Index buffer(Index n, Index m) noexcept;

  // `g_init` may be null. False if it was stopped, as in all below.
  bool start(const MatrixView<T>& cost, const double* a, const double* b, double beta,
             const double* g_init, const Cpu& exec) noexcept;
  bool step() noexcept;

  Index steps() const noexcept { return t_; }

  // F and G.
  void potentials(double* f, double* g) noexcept;

  // Between two steps: others may write into `large`, of which the state forgets what it held.
  void release() noexcept;

 private:
  static constexpr bool single = sizeof(T) == sizeof(float);
  // F, G here are in units of log 2 in float.
  static constexpr double unit = single ? 0.6931471805599453 : 1.0;

  bool stored_step(bool* made) noexcept;
  bool store() noexcept;
  bool log_step() noexcept;
  void rebase() noexcept;
  bool reduce() noexcept;
  bool step_columns_safely() noexcept;

  GibbsPasses<T>& passes_;
  Index n_;
  Index m_;
  Index row_stride_;  // of R
  bool small_;
  double* f_;       // F_t - t f0 / beta
  double* g_;       // G_t - t g0 / beta
  double* g_last_;  // G_{t-1} - (t - 1) g0 / beta
  double* f0_;
  double* g0_;
  double* s_;
  double* col_;
  T* A_;
  T* h_;
  T* w_;
  T* e_;
  T* reduced_;  // R, or E of the kernel
  IpotKernel<T> kernel_;
  bool stored_ = false;       // the kernel holds the potentials
  bool has_reduced_ = false;  // `reduced_` holds R for the present references
  Index next_store_ = 0;      // the step before which the kernel is not tried
  const double* a_ = nullptr;
  const double* b_ = nullptr;
  double least_ = 0;  // the smallest R, or 0
  double rate_ = 1;   // 1 / (beta unit)
  Index t_ = 0;
};

}  // namespace kantorch::cpu
