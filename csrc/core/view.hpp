// Borrowed views of a batch of problems. They never own and never allocate.
#pragma once

#include <cstdint>

namespace kantorch {

using Index = std::int64_t;

// A row-major matrix with contiguous columns; strides are in elements.
template <class T>
struct MatrixView {
  const T* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index row_stride = 0;

  constexpr const T* row(Index i) const noexcept { return data + i * row_stride; }
};

// B cost matrices. A batch stride of 0 shares one matrix between all problems.
template <class T>
struct CostBatch {
  const T* data = nullptr;
  Index batch = 0;
  Index rows = 0;
  Index cols = 0;
  Index batch_stride = 0;
  Index row_stride = 0;

  constexpr MatrixView<T> operator[](Index k) const noexcept {
    return {data + k * batch_stride, rows, cols, row_stride};
  }
};

// B contiguous vectors. A batch stride of 0 shares one vector; no data means "not given".
template <class T>
struct VectorBatch {
  const T* data = nullptr;
  Index batch_stride = 0;

  constexpr const T* operator[](Index k) const noexcept {
    return data == nullptr ? nullptr : data + k * batch_stride;
  }
};

}  // namespace kantorch
