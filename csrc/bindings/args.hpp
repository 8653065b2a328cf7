// How Python hands tensors over: tuples of an address, sizes and strides in elements.
//
// The Python layer has checked shapes, dtypes and devices; an address of 0 means "not given".
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>

#include "core/view.hpp"

namespace kantorch::bindings {

namespace py = pybind11;

using CostArgument = std::array<Index, 6>;  // address, B, n, m, batch stride, row stride
// x, y in panels, coordinates, their batch strides, metric
using PointsArgument = std::array<Index, 6>;
using VectorArgument = std::array<Index, 2>;  // address, batch stride

template <class T>
T* address(Index value) noexcept {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(value));
}

template <class T>
CostBatch<T> cost_batch(const CostArgument& cost) noexcept {
  return {address<const T>(cost[0]), cost[1], cost[2], cost[3], cost[4], cost[5]};
}

template <class T>
PointsBatch<T> points_batch(const PointsArgument& points) noexcept {
  return {
      address<const T>(points[0]),   address<const T>(points[1]), points[2], points[3], points[4],
      static_cast<Metric>(points[5])};
}

template <class T>
VectorBatch<T> vector_batch(const VectorArgument& vector) noexcept {
  return {address<const T>(vector[0]), vector[1]};
}

}  // namespace kantorch::bindings
