// The one place where a dtype becomes a type.
#pragma once

#include <stdexcept>
#include <string>

namespace kantorch::bindings {

template <class T>
struct Tag {
  using Scalar = T;
};

// Calls body(Tag<float>) or body(Tag<double>).
template <class Body>
auto dispatch(const std::string& dtype, Body&& body) {
  if (dtype == "float32") return body(Tag<float>{});
  if (dtype == "float64") return body(Tag<double>{});
  throw std::invalid_argument("dtype must be float32 or float64, got " + dtype);
}

}  // namespace kantorch::bindings
