// A process-wide pool of threads for loops over chunks of known number.
//
// Which thread runs a chunk is not fixed, so a body writes only what its chunk owns, and reductions
// are made afterwards in the order of the chunks: then no result depends on the number of threads.
#pragma once

#include <type_traits>

#include "core/exec.hpp"
#include "core/view.hpp"

namespace kantorch::cpu {

namespace pool {
void run(Index chunks, void (*body)(void*, Index), void* context, const Cpu& exec) noexcept;
}

// Calls body(chunk) for every chunk in [0, chunks) on at most exec.threads threads, the caller
// among them. Returns false if it was stopped, in which case some chunks did not run. Calls do not
// nest: inside a body, hand exec.serial() down. `body` must not throw.
template <class Body>
bool parallel_for(Index chunks, const Cpu& exec, Body&& body) noexcept {
  using Callable = std::remove_reference_t<Body>;
  if (exec.threads <= 1 || chunks <= 1) {
    for (Index chunk = 0; chunk < chunks; ++chunk) {
      if (exec.stopped()) return false;
      body(chunk);
    }
    return !exec.stopped();
  }
  pool::run(
      chunks, [](void* context, Index chunk) { (*static_cast<Callable*>(context))(chunk); },
      const_cast<void*>(static_cast<const void*>(&body)), exec);
  return !exec.stopped();
}

// While one is alive, idle workers wait actively for a few microseconds between two loops, so that
// the passes of one solve do not pay a wake-up each. The workers are those of OpenMP, where the
// process has them.
class Session {
 public:
  explicit Session(const Cpu& exec) noexcept;
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

 private:
  bool counted_;
};

}  // namespace kantorch::cpu
