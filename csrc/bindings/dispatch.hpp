// The one place where a dtype becomes a type.
#pragma once

#include <stdexcept>

#include "bindings/tensor.hpp"

namespace kantorch::bindings {

template <class T>
struct Tag {
  using Scalar = T;
};

struct Dtypes {
  py::object float32, float64;

  // Never destroyed: the interpreter is gone before static objects are.
  static const Dtypes& get() {
    static const Dtypes* const dtypes = [] {
      const auto torch = py::module_::import("torch");
      return new Dtypes{torch.attr("float32"), torch.attr("float64")};
    }();
    return *dtypes;
  }
};

// Calls body(Tag<float>) or body(Tag<double>), by the dtype of a tensor.
template <class Body>
void dispatch(const Tensor& tensor, Body&& body) {
  const py::object dtype = tensor.dtype();
  if (dtype.is(Dtypes::get().float32)) return body(Tag<float>{});
  if (dtype.is(Dtypes::get().float64)) return body(Tag<double>{});
  throw std::invalid_argument("dtype must be float32 or float64, got " +
                              py::str(dtype).cast<std::string>());
}

}  // namespace kantorch::bindings
