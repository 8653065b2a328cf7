// Starting potentials for the network simplex from a few annealed Sinkhorn iterations in float32.
#pragma once

#include <cstdint>

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"

namespace kantorch::cpu::network {

// Improves the potentials of a screen, which has to be filled with them thereafter. `kernel` holds
// half a word for every entry of the screen, and may be the screen's own memory. False if stopped;
// may throw bad_alloc.
template <class T>
bool anneal(const Instance<T>& instance, Screen& screen, std::uint32_t* kernel, const Cpu& exec);

}  // namespace kantorch::cpu::network
