// The network simplex for the transportation problem.
#pragma once

#include <vector>

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"
#include "cpu/exact/tree.hpp"

namespace kantorch::cpu::network {

enum class Stop { optimal, max_iterations, precision_limit, interrupted };

// Pivots from the tree's basis to an optimal one. Optimal means: with potentials recomputed from
// the tree, `verify` calls the tree's potentials feasible. Throws bad_alloc.
template <class T>
Stop solve(const Instance<T>& instance, const Screen& screen, const Shortlist& shortlist,
           Tree& tree, Index max_iter, const Cpu& exec, Index& pivots);

}  // namespace kantorch::cpu::network
