// Solves (D - W) x = y, where W >= 0 is symmetric and D is the diagonal of W's row sums plus
// `ground`.
//
// Elimination updates only the weights W and the ground, which grow, and recomputes each pivot as
// their sum, as Grassmann, Taksar and Heyman (Oper. Res. 33, 1985) do for Markov chains. Nothing is
// ever subtracted, so the factors have small relative errors entry by entry, however weakly the
// parts of the graph are coupled.
#pragma once

#include "core/exec.hpp"
#include "cpu/runtime/arena.hpp"

namespace kantorch::cpu {

class Laplacian {
 public:
  static constexpr Index panel_depth = 64;

  // Distance between rows: no power of two, whose multiples would compete for the same cache lines.
  static constexpr Index stride_for(Index size) noexcept {
    return (size + 7) / 8 * 8 + ((size + 7) / 8 % 2 == 0 ? 8 : 0);
  }
  static constexpr Index weights_for(Index size) noexcept { return size * stride_for(size); }

  // `weights` holds weights_for(size) numbers; only the part above the diagonal is used.
  Laplacian(Arena& arena, Index size, double* weights) noexcept;

  Index size() const noexcept { return size_; }
  Index stride() const noexcept { return stride_; }
  double* ground() noexcept { return ground_; }

  // What a pivot must exceed to count, by the point that it belongs to; of parts of the graph it is
  // the sum over their points. Below it, right-hand sides are rounding noise there.
  double* floor() noexcept { return floor_; }

  // panel_depth rows of stride() numbers, for add_products.
  double* panel() noexcept { return panel_; }

  void clear() noexcept;

  // W += sum_p panel[p]^T panel[p] over the first `depth` rows of the panel. False if stopped.
  bool add_products(Index depth, const Cpu& exec) noexcept;

  // Overwrites the weights. False if stopped.
  bool factor(const Cpu& exec) noexcept;

  // x is y before and the solution after. A part of the graph without ground, or whose ties to the
  // others are below its floor, gets 0 at its last point.
  void solve(double* x) const noexcept;

 private:
  Index size_;
  Index stride_;
  double* weights_;
  double* ground_;
  double* floor_;
  double* pivot_;
  double* panel_;
};

}  // namespace kantorch::cpu
