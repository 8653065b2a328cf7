// Starting potentials for the network simplex from a few annealed Sinkhorn iterations in float32.
#pragma once

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"

namespace kantorch::cpu::network {

// Improves the potentials of a screen, which has then to be filled: its memory is used for kernels.
// False if stopped; may throw bad_alloc.
template <class T>
bool anneal(const Instance<T>& instance, Screen& screen, const Cpu& exec);

}  // namespace kantorch::cpu::network
