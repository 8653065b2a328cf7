// How a call of a kernel on a GPU is made.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/problem.hpp"
#include "core/exec.hpp"

namespace kantorch::bindings {

// `Execution` of kantorch/ops/_backend.py.
class CudaExecution : public py::object {
 public:
  PYBIND11_OBJECT_DEFAULT(CudaExecution, py::object, trusted)

  Cuda stream() const {
    Cuda cuda;
    cuda.device = attr("gpu").cast<int>();
    cuda.stream = reinterpret_cast<void*>(attr("stream").cast<std::uintptr_t>());
    return cuda;
  }

  // Scratch of so many bytes, from torch's allocator. What the stream does later in the same memory waits for what it
  // does now, so it may be given back as soon as the call returns.
  Tensor allocate(Index bytes) const { return py::object(attr("allocate")(bytes)); }

  // The indices that sort vectors, by torch: it has a radix sort for every size, batched, and made for each GPU.
  Tensor order(const Tensor& vectors) const { return py::object(attr("order")(vectors)); }
};

}  // namespace kantorch::bindings
