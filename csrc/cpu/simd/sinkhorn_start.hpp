// Loops of the exact solver's own Sinkhorn, which only has to find good starting potentials.
//
// Gibbs kernels are held as bfloat16: with 8 bits of precision and the range of float32, in half
// the memory. The layout of a row is the business of these functions.
#pragma once

#include <cstdint>

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

struct SinkhornStartTable {
  // kernel_j = exp2((f + g_j - cost_j) * rate), cut to a safe range; m is padded.
  void (*gibbs)(const float* cost, float f, const float* g, float rate, Index m,
                std::uint32_t* kernel);

  // kernel_j <- (u kernel_j v_j)^4, cut alike: the kernel at a quarter of eps, with u and v in the
  // potentials. Cheaper than `gibbs`, but it multiplies the rounding by 4.
  void (*sharpen)(std::uint32_t* kernel, float u, const float* v, Index m);

  // Half an iteration on rows of the kernel: u_i <- u_i (1 / (u_i sum_j K_ij w_j))^omega, omega one
  // of 1 and 1.5; and then sums_j += a_i u_i K_ij.
  void (*rows)(const std::uint32_t* kernel, Index rows, Index m, const float* w, const float* a,
               bool relaxed, float* u, float* sums);

  // The other half: v_j <- v_j (1 / (v_j sums_j))^omega and w_j = b_j v_j.
  void (*columns)(const float* sums, const float* b, Index m, bool relaxed, float* v, float* w);
};

KANTORCH_TABLE_PER_LEVEL(SinkhornStartTable, sinkhorn_start_table)

}  // namespace kantorch::cpu
