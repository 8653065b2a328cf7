// The iterates of IPOT on one problem whose cost is not stored: each step is Sinkhorn's iteration
// at eps = beta / t, from extrapolated potentials.
#pragma once

#include "cpu/scaling/log_form.hpp"

namespace kantorch::cpu {

template <class T>
class IpotLog {
 public:
  IpotLog(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, Index dims) noexcept;

  // As in IpotState.
  bool start(const PointsView<T>& points, const double* a, const double* b, double beta,
             const double* g_init, const Cpu& exec) noexcept;
  bool step() noexcept;
  Index steps() const noexcept { return t_; }
  void potentials(double* f, double* g) const noexcept;

 private:
  GibbsPasses<T>& passes_;
  LogForm<T> form_;
  Index n_;
  Index m_;
  double* f_;
  double* g_;
  double* f_last_;
  double* g_last_;
  const double* a_ = nullptr;
  const double* b_ = nullptr;
  double rate_ = 1;
  Index t_ = 0;
};

}  // namespace kantorch::cpu
