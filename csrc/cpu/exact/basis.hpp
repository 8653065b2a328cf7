// The basis that the network simplex starts from.
#pragma once

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"
#include "cpu/exact/tree.hpp"

namespace kantorch::cpu::network {

// A strongly feasible basis, greedily of the cells with the smallest screened costs. With
// `optimal`, the screen's potentials are tried as those of an optimal basis. False if stopped; may
// throw bad_alloc.
template <class T>
bool start_basis(const Instance<T>& instance, const Screen& screen, const Shortlist& shortlist,
                 bool optimal, Tree& tree, const Cpu& exec);

}  // namespace kantorch::cpu::network
