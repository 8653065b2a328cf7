// Steps of IPOT on a stored power of the kernel: no exponentials, two buffers.
//
// Relative to reference potentials f0, g0 the plan after step t is a_i U_i E_ij V_j b_j with E =
// 2^-tR, R_ij = (C_ij - f0_i - g0_j) rate, and 1 / U_i = s_i, 1 / V_j = c_j are the sums that the
// steps compute. Entries of E that underflow stay 0, and rounding adds up in E; both are bounded by
// making E and K = 2^-R anew, from double, after a limited number of steps or a limited change of
// s and c. The limits are such that what has underflowed is a share of at most 1e-9 of any sum.
#pragma once

#include "cpu/runtime/row_stride.hpp"
#include "cpu/scaling/gibbs_passes.hpp"
#include "cpu/simd/ipot_kernel_rows.hpp"

namespace kantorch::cpu {

template <class T>
class IpotKernel {
 public:
  // Whether a problem is small enough. The bound on its cells makes the second buffer a constant.
  static constexpr bool fits(Index n, Index m) noexcept {
    return n <= longest && m <= longest && n * m <= most_bytes / static_cast<Index>(sizeof(T));
  }
  // The numbers in each of the two buffers.
  static constexpr Index buffer(Index n, Index m) noexcept {
    return padded(n, tile_rows) * padded(m, tile_columns);
  }

  // `power` holds buffer(n, m) numbers and is E. Nothing is taken where the problem does not fit.
  IpotKernel(Arena& arena, Index n, Index m, T* power) noexcept;

  void bind(const MatrixView<T>& cost, const double* a, const double* b, const Cpu& exec) noexcept;

  // Makes K and E for step t + 1 from the potentials of step t relative to the references: G_t and
  // G_{t-1} in factors of 2. `usable` tells whether the kernel can be used for some steps. False if
  // it was stopped.
  bool build(const double* f0, const double* g0, double rate, Index t, const double* g,
             const double* g_last, bool* usable) noexcept;

  enum class Step { made, made_last, failed, stopped };

  // The next step. After `made_last` the kernel must be built again; a failed step changed nothing
  // of what `potentials` reads.
  Step step() noexcept;

  // Steps since the kernel was built.
  Index age() const noexcept { return age_; }

  // F_t, G_t, G_{t-1}. F is known after a step.
  void potentials(double* f, double* g, double* g_last) const noexcept;

 private:
  static constexpr Index most_bytes = Index{1} << 22;
  static constexpr Index longest = 2048;
  static constexpr Index block_rows = 64;
  static constexpr Index most_blocks = longest / block_rows;

  Index blocks() const noexcept { return (n_ + block_rows - 1) / block_rows; }

  Index n_;
  Index m_;
  Index width_;
  T* power_;
  T* kernel_;
  T* a_;
  T* b_;
  T* w_;
  T* s_;
  T* s_next_;
  T* c_;
  T* c_last_;
  T* c_next_;
  T* parts_;
  T* e_;
  const double* mass_a_ = nullptr;
  const double* mass_b_ = nullptr;
  MatrixView<T> cost_;
  const Cpu* exec_ = nullptr;
  Index age_ = 0;
  Index limit_ = 0;
  bool advanced_ = false;  // E is already that of the next step
};

}  // namespace kantorch::cpu
