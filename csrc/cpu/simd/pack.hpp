// A register's worth of numbers, for the files that are compiled once per SIMD level.
//
// KANTORCH_SIMD (baseline, avx2, avx512) and KANTORCH_VECTOR_BYTES (16, 32, 64) come from the
// build. With GCC and Clang a Pack is a vector of the compiler's; elsewhere an array that its
// optimiser may vectorise.
#pragma once

#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "core/view.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

#if defined(__GNUC__) || defined(__clang__)

// x < y ? x : y and x > y ? x : y.
template <class T>
struct Order {
  template <class V>
  static V min(V x, V y) noexcept {
    return x < y ? x : y;
  }
  template <class V>
  static V max(V x, V y) noexcept {
    return x > y ? x : y;
  }
};

// One instruction each with the same result, where GCC makes a comparison and a blend of them.
#if defined(__AVX512F__)
// The forms without a mask make GCC warn of uninitialised numbers.
template <>
struct Order<float> {
  static __m512 min(__m512 x, __m512 y) noexcept { return _mm512_maskz_min_ps(0xffff, x, y); }
  static __m512 max(__m512 x, __m512 y) noexcept { return _mm512_maskz_max_ps(0xffff, x, y); }
};
template <>
struct Order<double> {
  static __m512d min(__m512d x, __m512d y) noexcept { return _mm512_maskz_min_pd(0xff, x, y); }
  static __m512d max(__m512d x, __m512d y) noexcept { return _mm512_maskz_max_pd(0xff, x, y); }
};
#elif defined(__AVX2__)
template <>
struct Order<float> {
  static __m256 min(__m256 x, __m256 y) noexcept { return _mm256_min_ps(x, y); }
  static __m256 max(__m256 x, __m256 y) noexcept { return _mm256_max_ps(x, y); }
};
template <>
struct Order<double> {
  static __m256d min(__m256d x, __m256d y) noexcept { return _mm256_min_pd(x, y); }
  static __m256d max(__m256d x, __m256d y) noexcept { return _mm256_max_pd(x, y); }
};
#elif defined(__SSE2__)
template <>
struct Order<float> {
  static __m128 min(__m128 x, __m128 y) noexcept { return _mm_min_ps(x, y); }
  static __m128 max(__m128 x, __m128 y) noexcept { return _mm_max_ps(x, y); }
};
template <>
struct Order<double> {
  static __m128d min(__m128d x, __m128d y) noexcept { return _mm_min_pd(x, y); }
  static __m128d max(__m128d x, __m128d y) noexcept { return _mm_max_pd(x, y); }
};
#endif

template <class T>
struct Pack {
  typedef T Vector __attribute__((vector_size(KANTORCH_VECTOR_BYTES)));
  static constexpr Index size = KANTORCH_VECTOR_BYTES / static_cast<Index>(sizeof(T));
  Vector v;

  static Pack load(const T* from) noexcept {
    Pack p;
    std::memcpy(&p.v, from, sizeof(Vector));
    return p;
  }
  static Pack all(T x) noexcept { return {x - Vector{}}; }  // x + 0 takes an addition: it turns -0
  void store(T* to) const noexcept { std::memcpy(to, &v, sizeof(Vector)); }
  T operator[](Index i) const noexcept { return v[i]; }

  friend Pack operator+(Pack x, Pack y) noexcept { return {x.v + y.v}; }
  friend Pack operator-(Pack x, Pack y) noexcept { return {x.v - y.v}; }
  friend Pack operator*(Pack x, Pack y) noexcept { return {x.v * y.v}; }
  friend Pack operator/(Pack x, Pack y) noexcept { return {x.v / y.v}; }
  friend Pack min(Pack x, Pack y) noexcept { return {Order<T>::min(x.v, y.v)}; }
  friend Pack max(Pack x, Pack y) noexcept { return {Order<T>::max(x.v, y.v)}; }
};

#else

template <class T>
struct Pack {
  static constexpr Index size = KANTORCH_VECTOR_BYTES / static_cast<Index>(sizeof(T));
  T v[size];

  static Pack load(const T* from) noexcept {
    Pack p;
    std::memcpy(p.v, from, sizeof(p.v));
    return p;
  }
  static Pack all(T x) noexcept {
    Pack p;
    for (Index i = 0; i < size; ++i) p.v[i] = x;
    return p;
  }
  void store(T* to) const noexcept { std::memcpy(to, v, sizeof(v)); }
  T operator[](Index i) const noexcept { return v[i]; }

  template <class Operation>
  static Pack zip(Pack x, Pack y, Operation operation) noexcept {
    Pack p;
    for (Index i = 0; i < size; ++i) p.v[i] = operation(x.v[i], y.v[i]);
    return p;
  }
  friend Pack operator+(Pack x, Pack y) noexcept {
    return zip(x, y, [](T s, T t) { return s + t; });
  }
  friend Pack operator-(Pack x, Pack y) noexcept {
    return zip(x, y, [](T s, T t) { return s - t; });
  }
  friend Pack operator*(Pack x, Pack y) noexcept {
    return zip(x, y, [](T s, T t) { return s * t; });
  }
  friend Pack operator/(Pack x, Pack y) noexcept {
    return zip(x, y, [](T s, T t) { return s / t; });
  }
  friend Pack min(Pack x, Pack y) noexcept {
    return zip(x, y, [](T s, T t) { return s < t ? s : t; });
  }
  friend Pack max(Pack x, Pack y) noexcept {
    return zip(x, y, [](T s, T t) { return s > t ? s : t; });
  }
};

#endif

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
