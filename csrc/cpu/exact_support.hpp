// An optimal answer on the working points, however it was found, and its verification.
#pragma once

#include <vector>

#include "core/control.hpp"
#include "cpu/exact_instance.hpp"
#include "cpu/exact_tree.hpp"

namespace kantorch::cpu::network {

// A forest of cells that can carry an optimal plan, and potentials.
struct Support {
  struct Cell {
    Arc arc;
    bool from_row;  // without the cells before it, this is the last of its row; else of its column
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

// The rounding level of the working reduced costs c - f - g: costs are at most 1.
double feasibility(const double* f, Index n, const double* g, Index m) noexcept;

enum class Verdict { feasible, violated, interrupted };

// Whether no reduced cost is below -feasibility, by a pass in float64 over all of them. May throw
// bad_alloc.
template <class T>
Verdict verify(const Instance<T>& instance, const double* f, const double* g,
               const Control& control);

}  // namespace kantorch::cpu::network
