// Minima with their places, lane by lane, for the files that are compiled once per SIMD level.
#pragma once

#include <cstdint>

#include "cpu/simd/pack.hpp"
#include "cpu/simd/reduced_cost.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

template <class T>
struct IndexType;
template <>
struct IndexType<float> {
  using type = std::int32_t;
};
template <>
struct IndexType<double> {
  using type = std::int64_t;
};

// Per lane the smallest value so far and the first index that it had.
template <class T>
struct Lanes {
  using Int = typename IndexType<T>::type;
  static constexpr Index width = Pack<T>::size;
  Pack<T> value;
  Pack<Int> index;

  // Takes larger indices than it has seen.
  void take(Pack<T> x, Pack<Int> j) noexcept {
#if defined(__GNUC__) || defined(__clang__)
    const auto less = x.v < value.v;
    value.v = less ? x.v : value.v;
    index.v = less ? j.v : index.v;
#else
    for (Index k = 0; k < width; ++k) {
      if (!(x.v[k] < value.v[k])) continue;
      value.v[k] = x.v[k];
      index.v[k] = j.v[k];
    }
#endif
  }

  void merge(const Lanes& other) noexcept {
#if defined(__GNUC__) || defined(__clang__)
    const auto less =
        (other.value.v < value.v) | ((other.value.v == value.v) & (other.index.v < index.v));
    value.v = less ? other.value.v : value.v;
    index.v = less ? other.index.v : index.v;
#else
    for (Index k = 0; k < width; ++k) {
      const T x = other.value.v[k];
      const Int j = other.index.v[k];
      if (!(x < value.v[k] || (x == value.v[k] && j < index.v[k]))) continue;
      value.v[k] = x;
      index.v[k] = j;
    }
#endif
  }

  Smallest reduce() const noexcept {
    T x[width];
    Int j[width];
    value.store(x);
    index.store(j);
    for (Index half = width / 2; half > 0; half /= 2) {
      for (Index k = 0; k < half; ++k) {
        const T y = x[k + half];
        const Int i = j[k + half];
        const bool less = (y < x[k]) | ((y == x[k]) & (i < j[k]));
        x[k] = less ? y : x[k];
        j[k] = less ? i : j[k];
      }
    }
    return {static_cast<double>(x[0]), static_cast<Index>(j[0])};
  }
};

// Bit k says whether x_k <= y_k.
inline unsigned at_most(Pack<float> x, Pack<float> y) noexcept {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x.v, y.v, _CMP_LE_OQ);
#elif defined(__AVX2__) && (defined(__GNUC__) || defined(__clang__))
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(x.v, y.v, _CMP_LE_OQ)));
#else
  unsigned bits = 0;
  for (Index k = 0; k < Pack<float>::size; ++k) bits |= static_cast<unsigned>(x[k] <= y[k]) << k;
  return bits;
#endif
}

// The place of the lowest bit that is set.
inline Index lowest(unsigned bits) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  return __builtin_ctz(bits);
#else
  Index k = 0;
  while ((bits >> k & 1) == 0) ++k;
  return k;
#endif
}

// from[columns[k]] for a pack's worth of columns.
inline Pack<float> gathered(const float* from, const std::int32_t* columns) noexcept {
#if defined(__AVX512F__)
  const __m512i places = _mm512_loadu_si512(columns);
  return {(Pack<float>::Vector)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, places, from,
                                                        sizeof(float))};
#elif defined(__AVX2__) && (defined(__GNUC__) || defined(__clang__))
  const __m256i places = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns));
  return {(Pack<float>::Vector)_mm256_i32gather_ps(from, places, sizeof(float))};
#else
  float values[Pack<float>::size];
  for (Index k = 0; k < Pack<float>::size; ++k) values[k] = from[columns[k]];
  return Pack<float>::load(values);
#endif
}

template <class Int>
Pack<Int> counting() noexcept {
  Int values[Pack<Int>::size];
  for (Index k = 0; k < Pack<Int>::size; ++k) values[k] = static_cast<Int>(k);
  return Pack<Int>::load(values);
}

inline Pack<double> widened(const double* from) noexcept { return Pack<double>::load(from); }

inline Pack<double> widened(const float* from) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  typedef float Half __attribute__((vector_size(KANTORCH_VECTOR_BYTES / 2)));
  Half half;
  std::memcpy(&half, from, sizeof(half));
  return {__builtin_convertvector(half, Pack<double>::Vector)};
#else
  double values[Pack<double>::size];
  for (Index k = 0; k < Pack<double>::size; ++k) values[k] = from[k];
  return Pack<double>::load(values);
#endif
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
