// What every call of a kernel does: release the GIL, answer Ctrl-C, turn the outcome into an
// exception.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <thread>

#include "bindings/tensor.hpp"
#include "core/exec.hpp"
#include "core/status.hpp"
#include "cpu/runtime/huge_pages.hpp"

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

// How a call runs: `Execution` of kantorch/ops/_backend.py.
class Execution : public py::object {
 public:
  PYBIND11_OBJECT_DEFAULT(Execution, py::object, trusted)

  int threads() const { return attr("threads").cast<int>(); }

  // Scratch of so many bytes, from torch's allocator.
  Tensor allocate(Index bytes) const {
    const Tensor memory = py::object(attr("allocate")(bytes));
    cpu::prefer_huge_pages(memory.data<void>(), bytes);
    return memory;
  }
};

// Runs kernel(exec) without the GIL.
template <class Kernel>
void call(const Execution& execution, Kernel&& kernel) {
  const int threads = execution.threads();
  Signals signals;
  Outcome outcome;
  {
    const py::gil_scoped_release release;
    outcome = kernel(Cpu{threads, Signals::stop, &signals});
  }
  if (signals.raised()) throw py::error_already_set();
  if (outcome == Outcome::out_of_memory) throw std::bad_alloc();
}

// Runs kernel(scratch, exec) with so many bytes of scratch. An allocation takes longer than a kernel
// that is content with a few.
template <class Kernel>
void call(const Execution& execution, Index bytes, Kernel&& kernel) {
  constexpr Index few = 4096;
  if (bytes <= few) {
    alignas(64) char scratch[few];
    return call(execution,
                [&](const Cpu& exec) { return kernel(static_cast<void*>(scratch), exec); });
  }
  const Tensor memory = execution.allocate(bytes);
  void* const scratch = memory.data<void>();
  call(execution, [&](const Cpu& exec) { return kernel(scratch, exec); });
}

}  // namespace kantorch::bindings
