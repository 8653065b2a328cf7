// An optimal answer on the working points, however it was found, and its verification.
#pragma once

#include <cmath>
#include <vector>

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/tree.hpp"

namespace kantorch::cpu::network {

// A forest of cells that can carry an optimal plan, and potentials.
struct Support {
  struct Cell {
    Arc arc;
    bool from_row;  // without the cells before it, this is the last of its row; else of its column
    bool used;      // by more than rounding of the weights
  };
  std::vector<Cell> cells;
  Node last_col = 0;  // a column that is no cell's own
  std::vector<double> f;
  std::vector<double> g;
};

// Throws bad_alloc, as does the next.
void assign_tree(const Tree& tree, Support& support);

// The cells (i, col_of[i]).
void assign_permutation(const std::vector<Node>& col_of, const std::vector<double>& f,
                        const std::vector<double>& g, Support& support);

// The rounding level of all working reduced costs c - f - g: costs are at most 1.
double feasibility(const double* f, Index n, const double* g, Index m) noexcept;

// The rounding level of a single one is relative to its potentials: where c < f + g, the cost is at
// most |f| + |g|. A potential lowered by its part of that makes the comparison.
constexpr double local_rounding = 0x1p-46;
inline double lowered(double potential) noexcept {
  return potential - local_rounding * std::abs(potential);
}

// Feasible: no reduced cost is negative beyond its own rounding level. Nearly feasible: beyond the
// level of all, of the span of the costs.
enum class Verdict { feasible, nearly_feasible, violated, interrupted };

// By a pass in float64 over all reduced costs. `suspects` become the rows that are not feasible.
// May throw bad_alloc.
template <class T>
Verdict verify(const Instance<T>& instance, const double* f, const double* g, const Cpu& exec,
               std::vector<Node>& suspects);

}  // namespace kantorch::cpu::network
