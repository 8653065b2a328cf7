// The threads of an OpenMP runtime that the process already has.
//
// After a parallel region they wait actively for milliseconds (11 with libgomp's defaults), and
// threads of our own would share their cores with them. So they are borrowed.
#pragma once

namespace kantorch::cpu::openmp {

// Whether this process has such threads to lend. Not after a fork: the runtime does not survive it.
bool available() noexcept;

// Calls body(data) on at most threads - 1 other threads, which `finish` waits for. Calls do not
// nest. Only if `available`.
void start(void (*body)(void*), void* data, int threads) noexcept;
void finish() noexcept;

}  // namespace kantorch::cpu::openmp
