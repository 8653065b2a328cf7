// Passes over the cost of one problem that stay in the log domain: safe for any cost, eps and
// weights.
//
// Potentials F, G are in units of eps and the weights have mass 1: P_ij = a_i b_j exp(F_i + G_j -
// rate C_ij).
#pragma once

#include <limits>

#include "common/scaling_rules.hpp"
#include "core/exec.hpp"
#include "core/view.hpp"
#include "cpu/runtime/arena.hpp"
#include "cpu/runtime/batch.hpp"
#include "cpu/runtime/row_stride.hpp"
#include "cpu/scaling/cost_rows.hpp"

namespace kantorch::cpu {

struct PlanSums {
  double mass = 0;
  double cost = 0;
};

constexpr double rate_of(double eps) noexcept {
  return 1 / (eps < smallest_eps ? smallest_eps : eps);
}

template <class T>
class GibbsPasses {
 public:
  // The cost is `stored`, or else distances between points.
  GibbsPasses(Arena& arena, Index n, Index m, bool stored = true) noexcept;

  // `cost` is a MatrixView<T> or a PointsView<T>.
  template <class Cost>
  void bind(const Cost& cost, const double* a, const double* b, const Cpu& exec) noexcept {
    cost_.bind(cost);
    a_ = a;
    b_ = b;
    exec_ = &exec;
  }
  void set_rate(double rate) noexcept { rate_ = rate; }
  double rate() const noexcept { return rate_; }
  const MatrixView<T>& cost() const noexcept { return cost_.matrix(); }
  CostRows<T>& cost_rows() noexcept { return cost_; }
  const Cpu& exec() const noexcept { return *exec_; }
  const RowBlocks& blocks() const noexcept { return blocks_; }
  Index block_stride() const noexcept { return row_stride<double>(2 * cols_); }
  double* block_sum(Index block) noexcept { return scratch_ + block * block_stride(); }
  double* block_row(Index block) noexcept { return block_sum(block) + cols_; }

  // All return false if they were stopped.

  // F_i = -log sum_j b_j exp(G_j - rate C_ij), then G_j = -log sum_i a_i exp(F_i - rate C_ij); each
  // change `omega` times as large.
  bool iterate(double* f, double* g, double omega = 1) noexcept;
  bool update_rows(double* f, const double* g) noexcept;
  bool update_columns(const double* f, double* g) noexcept;

  // The limit of update_rows for small eps, F_i = min_j rate C_ij - G_j over b_j > 0: without
  // exponentials, and so that no exponent is above 0.
  bool bound_rows(double* f, const double* g) noexcept;

  // Row and column sums of `factor` <= 1 times the plan, its mass and <P, C>.
  bool measure(const double* f, const double* g, double* row, double* col, PlanSums* sums,
               double factor = 1) noexcept;

  // out_i = x_i sum_j E_ij y_j, and out_j = y_j sum_i x_i E_ij, where E_ij = exp(F_i + G_j - rate
  // C_ij). out_i may be where x_i is, and out_j where y_j is.
  bool multiply(const double* f, const double* g, const double* x, const double* y,
                double* out) noexcept;
  bool multiply_transposed(const double* f, const double* g, const double* x, const double* y,
                           double* out) noexcept;

  // K_ij = exp(F_i + G_j - rate C_ij), rows of K row_stride<T>(m) apart.
  bool kernel(const double* f, const double* g, T* k) noexcept;

  // Calls body(i, block) for every row.
  template <class Body>
  bool for_rows(Body&& body) noexcept {
    return parallel_for(blocks_.count, *exec_, [&](Index block) {
      blocks_.each(block, *exec_, [&](Index i) { body(i, block); });
    });
  }

  // Calls body(i, block, c) for every row c of the cost.
  template <class Body>
  bool for_cost_rows(Body&& body) noexcept {
    return for_rows([&](Index i, Index block) { body(i, block, cost_.row(i, block)); });
  }

  // out_j = the sum of block_sum(block)[j] over the blocks, in their order.
  void reduce(double* out) noexcept;

 private:
  void clear_sums() noexcept;

  RowBlocks blocks_;
  Index cols_;
  double* scratch_;
  double* row_cost_;
  CostRows<T> cost_;
  double rate_ = 1;
  const double* a_ = nullptr;
  const double* b_ = nullptr;
  const Cpu* exec_ = nullptr;
};

}  // namespace kantorch::cpu
