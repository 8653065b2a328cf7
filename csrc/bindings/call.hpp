// What every call of a kernel does: release the GIL, answer Ctrl-C, turn the outcome into an
// exception.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <thread>

#include "core/exec.hpp"
#include "core/status.hpp"

namespace kantorch::bindings {

namespace py = pybind11;

// Python runs signal handlers on its main thread alone, so only a solve that was called there asks
// for signals, every few milliseconds and with the GIL; the other threads of the solve read what it
// found.
class Signals {
 public:
  Signals() : main_(PyThread_get_thread_ident() == main_thread()) {}

  static bool stop(void* self) noexcept { return static_cast<Signals*>(self)->stopped(); }
  bool raised() const noexcept { return raised_.load(std::memory_order_relaxed); }

  static unsigned long& main_thread() {
    static unsigned long ident = 0;
    return ident;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto period = std::chrono::milliseconds(20);

  bool stopped() noexcept {
    if (raised()) return true;
    if (!main_ || std::this_thread::get_id() != caller_) return false;
    // Reading the clock takes as long as a row of a small problem.
    if (++asked_ % 8 != 0) return false;
    const auto now = Clock::now();
    if (now < next_) return false;
    {
      const py::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) raised_.store(true, std::memory_order_relaxed);
    }
    next_ = Clock::now() + period;
    return raised();
  }

  static constexpr std::size_t line = 64;  // of the cache

  const bool main_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::atomic<bool> raised_{false};
  // The caller's alone, away from what the other threads keep reading.
  alignas(line) Clock::time_point next_ = Clock::now() + period;
  unsigned asked_ = 0;
};

// Runs kernel(exec) without the GIL.
template <class Kernel>
void call(int threads, Kernel&& kernel) {
  Signals signals;
  Outcome outcome;
  {
    const py::gil_scoped_release release;
    outcome = kernel(Cpu{threads, Signals::stop, &signals});
  }
  if (signals.raised()) throw py::error_already_set();
  if (outcome == Outcome::out_of_memory) throw std::bad_alloc();
}

}  // namespace kantorch::bindings
