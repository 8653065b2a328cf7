// Loads and stores of packs where a row ends inside a pack, and between float rows and double
// arithmetic.
#pragma once

#include "cpu/simd/pack.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

// How many lanes of a pack are in use: all of them, known when compiling, or the first few.
template <class T>
struct AllLanes {
  static constexpr Index count = Pack<T>::size;
};
struct FirstLanes {
  Index count;
};

// Calls body(j, lanes) for j = 0, size, 2 size, ... so that the lanes cover [0, m).
template <class T, class Body>
inline void sweep(Index m, Body&& body) noexcept {
  Index j = 0;
  for (; j + Pack<T>::size <= m; j += Pack<T>::size) body(j, AllLanes<T>{});
  if (j < m) body(j, FirstLanes{m - j});
}

template <class T>
inline Pack<T> load(const T* from, AllLanes<T>, T = 0) noexcept {
  return Pack<T>::load(from);
}

// Lanes that are not in use hold `fill`.
template <class T>
inline Pack<T> load(const T* from, FirstLanes lanes, T fill = 0) noexcept {
  T buffer[Pack<T>::size];
  for (Index i = 0; i < Pack<T>::size; ++i) buffer[i] = i < lanes.count ? from[i] : fill;
  return Pack<T>::load(buffer);
}

template <class T>
inline void store(T* to, Pack<T> x, AllLanes<T>) noexcept {
  x.store(to);
}

template <class T>
inline void store(T* to, Pack<T> x, FirstLanes lanes) noexcept {
  T buffer[Pack<T>::size];
  x.store(buffer);
  for (Index i = 0; i < lanes.count; ++i) to[i] = buffer[i];
}

// A pack of doubles from the storage type, and back.
inline Pack<double> widen(const double* from, AllLanes<double> lanes) noexcept {
  return load(from, lanes);
}
inline void narrow(double* to, Pack<double> x, AllLanes<double> lanes) noexcept {
  store(to, x, lanes);
}

#if defined(__GNUC__) || defined(__clang__)
typedef float HalfVector __attribute__((vector_size(KANTORCH_VECTOR_BYTES / 2)));
inline Pack<double> widen(const float* from, AllLanes<double>) noexcept {
#if defined(__AVX2__) && !defined(__AVX512F__)
  return {(Pack<double>::Vector)_mm256_cvtps_pd(_mm_loadu_ps(from))};  // GCC makes three of it
#else
  HalfVector half;
  std::memcpy(&half, from, sizeof(half));
  return {__builtin_convertvector(half, Pack<double>::Vector)};
#endif
}
inline void narrow(float* to, Pack<double> x, AllLanes<double>) noexcept {
  const HalfVector half = __builtin_convertvector(x.v, HalfVector);
  std::memcpy(to, &half, sizeof(half));
}
#else
inline Pack<double> widen(const float* from, AllLanes<double>) noexcept {
  Pack<double> p;
  for (Index i = 0; i < Pack<double>::size; ++i) p.v[i] = from[i];
  return p;
}
inline void narrow(float* to, Pack<double> x, AllLanes<double>) noexcept {
  for (Index i = 0; i < Pack<double>::size; ++i) to[i] = static_cast<float>(x.v[i]);
}
#endif

template <class T>
inline Pack<double> widen(const T* from, FirstLanes lanes) noexcept {
  T buffer[Pack<double>::size] = {};
  for (Index i = 0; i < lanes.count; ++i) buffer[i] = from[i];
  return widen(buffer, AllLanes<double>{});
}
template <class T>
inline void narrow(T* to, Pack<double> x, FirstLanes lanes) noexcept {
  T buffer[Pack<double>::size];
  narrow(buffer, x, AllLanes<double>{});
  for (Index i = 0; i < lanes.count; ++i) to[i] = buffer[i];
}

// Two packs side by side, rounded.
inline Pack<float> joined(Pack<double> x, Pack<double> y) noexcept {
#if defined(__AVX512F__)
  const __m256 low = _mm512_maskz_cvtpd_ps(0xff, (__m512d)x.v),
               high = _mm512_maskz_cvtpd_ps(0xff, (__m512d)y.v);
  return {(Pack<float>::Vector)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1)};
#elif defined(__AVX2__)
  const __m128 low = _mm256_cvtpd_ps((__m256d)x.v), high = _mm256_cvtpd_ps((__m256d)y.v);
  return {(Pack<float>::Vector)_mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1)};
#else
  float buffer[Pack<float>::size];
  narrow(buffer, x, AllLanes<double>{});
  narrow(buffer + Pack<double>::size, y, AllLanes<double>{});
  return Pack<float>::load(buffer);
#endif
}

template <class T>
inline T sum_of(const T* x, Index size) noexcept {
  return size == 1 ? x[0] : sum_of(x, size / 2) + sum_of(x + size / 2, size / 2);
}

#if defined(__GNUC__) || defined(__clang__)
// Halves the vector until it is 16 bytes long.
template <class T, int bytes>
struct Halving {
  static T sum(const T* x) noexcept {
    typedef T Half __attribute__((vector_size(bytes / 2)));
    Half low, high;
    std::memcpy(&low, x, sizeof(Half));
    std::memcpy(&high, x + bytes / 2 / sizeof(T), sizeof(Half));
    low = low + high;
    T buffer[bytes / 2 / sizeof(T)];
    std::memcpy(buffer, &low, sizeof(Half));
    return Halving<T, bytes / 2>::sum(buffer);
  }
};
template <class T>
struct Halving<T, 16> {
  static T sum(const T* x) noexcept { return sum_of(x, 16 / static_cast<Index>(sizeof(T))); }
};
template <class T>
inline T sum(Pack<T> x) noexcept {
  T buffer[Pack<T>::size];
  x.store(buffer);
  return Halving<T, KANTORCH_VECTOR_BYTES>::sum(buffer);
}
#else
template <class T>
inline T sum(Pack<T> x) noexcept {
  return sum_of(x.v, Pack<T>::size);
}
#endif

// The better of two halves, until one lane is left.
template <class T, class Better>
inline T tournament(Pack<T> x, Better&& better) noexcept {
  T best[Pack<T>::size];
  x.store(best);
  for (Index half = Pack<T>::size / 2; half > 0; half /= 2)
    for (Index i = 0; i < half; ++i) best[i] = better(best[i], best[i + half]);
  return best[0];
}

template <class T>
inline T largest(Pack<T> x) noexcept {
  return tournament(x, [](T y, T z) { return y > z ? y : z; });
}

template <class T>
inline T smallest(Pack<T> x) noexcept {
  return tournament(x, [](T y, T z) { return y < z ? y : z; });
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
