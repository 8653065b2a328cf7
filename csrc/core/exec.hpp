// Where and how a call runs.
#pragma once

namespace kantorch {

struct Cpu {
  int threads = 1;

  // Whether to stop now. Cheap enough to ask every few microseconds, from any thread of the solve.
  bool (*stop)(void* context) noexcept = nullptr;
  void* context = nullptr;

  bool stopped() const noexcept { return stop != nullptr && stop(context); }

  // For the work on one problem inside a region that is already parallel over problems.
  Cpu serial() const noexcept { return {1, stop, context}; }
};

}  // namespace kantorch
