// Loads and stores of packs where a row ends inside a pack, and between float rows and double
// arithmetic.
#pragma once

#include <cstdint>
#include <utility>

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

// Lanes that are not in use hold `fill`, and their memory is not touched.
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

// One masked instruction each. Through a buffer, the last 4 of 60 columns took as long on AVX-512 as
// the other 56.
#if defined(__AVX512F__)
inline __mmask16 mask(FirstLanes lanes) noexcept {
  return static_cast<__mmask16>((1u << lanes.count) - 1);
}
inline __mmask8 half_mask(FirstLanes lanes) noexcept {
  return static_cast<__mmask8>((1u << lanes.count) - 1);
}
inline Pack<double> load(const double* from, FirstLanes lanes, double fill = 0) noexcept {
  const __m512d x = _mm512_mask_loadu_pd(_mm512_set1_pd(fill), half_mask(lanes), from);
  return {(Pack<double>::Vector)x};
}
inline Pack<float> load(const float* from, FirstLanes lanes, float fill = 0) noexcept {
  return {(Pack<float>::Vector)_mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask(lanes), from)};
}
inline void store(double* to, Pack<double> x, FirstLanes lanes) noexcept {
  _mm512_mask_storeu_pd(to, half_mask(lanes), (__m512d)x.v);
}
inline void store(float* to, Pack<float> x, FirstLanes lanes) noexcept {
  _mm512_mask_storeu_ps(to, mask(lanes), (__m512)x.v);
}
inline Pack<double> widen(const float* from, FirstLanes lanes) noexcept {
  const __m256 x = _mm256_maskz_loadu_ps(half_mask(lanes), from);
  return {(Pack<double>::Vector)_mm512_maskz_cvtps_pd(0xff, x)};
}
inline void narrow(float* to, Pack<double> x, FirstLanes lanes) noexcept {
  _mm256_mask_storeu_ps(to, half_mask(lanes), _mm512_maskz_cvtpd_ps(0xff, (__m512d)x.v));
}
#elif defined(__AVX2__)
// All bits set in the first `count` numbers of T.
template <class T>
inline __m256i mask(FirstLanes lanes) noexcept {
  static constexpr std::int32_t set[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  const Index words = lanes.count * static_cast<Index>(sizeof(T) / sizeof(std::int32_t));
  __m256i bits;
  std::memcpy(&bits, set + 8 - words, sizeof(bits));
  return bits;
}
inline Pack<double> load(const double* from, FirstLanes lanes, double fill = 0) noexcept {
  const __m256i first = mask<double>(lanes);
  return {(Pack<double>::Vector)_mm256_blendv_pd(
      _mm256_set1_pd(fill), _mm256_maskload_pd(from, first), _mm256_castsi256_pd(first))};
}
inline Pack<float> load(const float* from, FirstLanes lanes, float fill = 0) noexcept {
  const __m256i first = mask<float>(lanes);
  return {(Pack<float>::Vector)_mm256_blendv_ps(
      _mm256_set1_ps(fill), _mm256_maskload_ps(from, first), _mm256_castsi256_ps(first))};
}
inline void store(double* to, Pack<double> x, FirstLanes lanes) noexcept {
  _mm256_maskstore_pd(to, mask<double>(lanes), (__m256d)x.v);
}
inline void store(float* to, Pack<float> x, FirstLanes lanes) noexcept {
  _mm256_maskstore_ps(to, mask<float>(lanes), (__m256)x.v);
}
inline Pack<double> widen(const float* from, FirstLanes lanes) noexcept {
  const __m128 x = _mm_maskload_ps(from, _mm256_castsi256_si128(mask<float>(lanes)));
  return {(Pack<double>::Vector)_mm256_cvtps_pd(x)};
}
inline void narrow(float* to, Pack<double> x, FirstLanes lanes) noexcept {
  _mm_maskstore_ps(to, _mm256_castsi256_si128(mask<float>(lanes)), _mm256_cvtpd_ps((__m256d)x.v));
}
#endif
#if defined(__AVX2__)
inline Pack<double> widen(const double* from, FirstLanes lanes) noexcept {
  return load(from, lanes);
}
inline void narrow(double* to, Pack<double> x, FirstLanes lanes) noexcept { store(to, x, lanes); }
#endif

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

// What an operation makes of the two halves of a vector, and of the halves of that, until `left`
// numbers are left: in registers, as a short row would spend most of its time in memory here.
template <class T, Index size>
struct Halves {
  typedef T Vector __attribute__((vector_size(size * sizeof(T))));

  template <class Operation, Index... lane>
  static auto once(Vector x, const Operation& operation,
                   std::integer_sequence<Index, lane...>) noexcept {
    return operation(__builtin_shufflevector(x, x, lane...),
                     __builtin_shufflevector(x, x, (lane + size / 2)...));
  }

  template <Index left, class Operation>
  static auto fold(Vector x, const Operation& operation) noexcept {
    if constexpr (size == left) {
      return x;
    } else {
      return Halves<T, size / 2>::template fold<left>(
          once(x, operation, std::make_integer_sequence<Index, size / 2>{}), operation);
    }
  }
};

inline double sum(Pack<double> x) noexcept {
  const auto add = [](auto low, auto high) { return low + high; };
  const auto two = Halves<double, Pack<double>::size>::fold<2>(x.v, add);
  return two[0] + two[1];
}
inline float sum(Pack<float> x) noexcept {
  const auto add = [](auto low, auto high) { return low + high; };
  const auto four = Halves<float, Pack<float>::size>::fold<4>(x.v, add);
  return (four[0] + four[1]) + (four[2] + four[3]);
}

template <class T>
inline T largest(Pack<T> x) noexcept {
  const auto larger = [](auto low, auto high) { return low > high ? low : high; };
  const auto two = Halves<T, Pack<T>::size>::template fold<2>(x.v, larger);
  return larger(two[0], two[1]);
}
template <class T>
inline T smallest(Pack<T> x) noexcept {
  const auto smaller = [](auto low, auto high) { return low < high ? low : high; };
  const auto two = Halves<T, Pack<T>::size>::template fold<2>(x.v, smaller);
  return smaller(two[0], two[1]);
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
