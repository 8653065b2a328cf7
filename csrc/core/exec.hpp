// Where and how a call runs.
#pragma once

#include <stdexcept>

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

// A stream of a device. A call returns when its work is queued; what it writes is there when the stream has done it.
struct Cuda {
  int device = 0;
  void* stream = nullptr;  // as the CUDA runtime and torch name it
};

// The device or its driver refused a launch.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace kantorch
