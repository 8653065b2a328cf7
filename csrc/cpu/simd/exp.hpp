// Vectorised exponential and logarithm.
//
// Arguments are clamped, so that no lane is ever infinite or NaN: what lies below the smallest
// normal number is exactly 0, and e^650, 2^126 stand for everything above them.
#pragma once

#include <cstdint>

#include "cpu/simd/lanes.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

template <class T>
struct Bits;
template <>
struct Bits<float> {
  typedef std::uint32_t Word;
  static constexpr int mantissa = 23;
  static constexpr Word bias = 127;
};
template <>
struct Bits<double> {
  typedef std::uint64_t Word;
  static constexpr int mantissa = 52;
  static constexpr Word bias = 1023;
};

#if defined(__GNUC__) || defined(__clang__)

template <class T>
struct Words {
  typedef typename Bits<T>::Word Vector __attribute__((vector_size(KANTORCH_VECTOR_BYTES)));
};

// x 2^k, where k is in the low bits of t.
template <class T>
inline Pack<T> scale_by(Pack<T> x, Pack<T> t) noexcept {
  typedef typename Words<T>::Vector Vector;
  const Vector moved = (Vector)t.v << Bits<T>::mantissa;
  return {(typename Pack<T>::Vector)((Vector)x.v + moved)};
}

// y where x >= limit, else 0.
template <class T>
inline Pack<T> zero_below(Pack<T> x, Pack<T> limit, Pack<T> y) noexcept {
  return {x.v >= limit.v ? y.v : typename Pack<T>::Vector{}};
}

// y where x > 0, else `other`.
template <class T>
inline Pack<T> where_positive(Pack<T> x, Pack<T> y, Pack<T> other) noexcept {
  return {x.v > typename Pack<T>::Vector{} ? y.v : other.v};
}

// x = mantissa 2^exponent with the mantissa in [1, 2), for positive normal numbers.
inline void split(Pack<double> x, Pack<double>* mantissa, Pack<double>* exponent) noexcept {
  typedef Words<double>::Vector Vector;
  const Vector bits = (Vector)x.v;
  mantissa->v = (Pack<double>::Vector)((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
  // The biased exponent as the low bits of 2^52 + exponent, which needs no integer conversion.
  const Vector number = (bits >> 52) | 0x4330000000000000u;
  exponent->v = (Pack<double>::Vector)number - (0x1p52 + 1023);
}

#else

template <class T>
inline Pack<T> scale_by(Pack<T> x, Pack<T> t) noexcept {
  typename Bits<T>::Word a, b;
  for (Index i = 0; i < Pack<T>::size; ++i) {
    std::memcpy(&a, &x.v[i], sizeof(T));
    std::memcpy(&b, &t.v[i], sizeof(T));
    a += b << Bits<T>::mantissa;
    std::memcpy(&x.v[i], &a, sizeof(T));
  }
  return x;
}

template <class T>
inline Pack<T> zero_below(Pack<T> x, Pack<T> limit, Pack<T> y) noexcept {
  for (Index i = 0; i < Pack<T>::size; ++i) y.v[i] = x.v[i] >= limit.v[i] ? y.v[i] : T{0};
  return y;
}

template <class T>
inline Pack<T> where_positive(Pack<T> x, Pack<T> y, Pack<T> other) noexcept {
  for (Index i = 0; i < Pack<T>::size; ++i) y.v[i] = x.v[i] > 0 ? y.v[i] : other.v[i];
  return y;
}

inline void split(Pack<double> x, Pack<double>* mantissa, Pack<double>* exponent) noexcept {
  for (Index i = 0; i < Pack<double>::size; ++i) {
    std::uint64_t bits;
    std::memcpy(&bits, &x.v[i], sizeof(double));
    exponent->v[i] = static_cast<double>(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    std::memcpy(&mantissa->v[i], &bits, sizeof(double));
  }
}

#endif

// e^x with a relative error of about 2e-16. x = k log 2 + r, |r| <= log 2 / 2; the polynomial
// interpolates (e^r - 1 - r) / r^2 at Chebyshev nodes, which is off by 2e-17.
inline Pack<double> exp(Pack<double> x) noexcept {
  typedef Pack<double> P;
  const P low = P::all(-708), magic = P::all(0x1.8p52);
  const P y = min(max(x, low), P::all(650));
  const P t = y * P::all(1.4426950408889634) + magic;
  const P k = t - magic;
  P r = y - k * P::all(6.93145751953125e-1);  // a short constant: the product is exact
  r = r - k * P::all(1.42860682030941723212e-6);
  // Estrin's scheme: a chain of products half as long as Horner's.
  const P r2 = r * r, r4 = r2 * r2;
  const P q0 = P::all(5.0000000000000010211e-1) + r * P::all(1.6666666666666667452e-1);
  const P q2 = P::all(4.1666666666624161903e-2) + r * P::all(8.3333333333006444950e-3);
  const P q4 = P::all(1.3888888916719196707e-3) + r * P::all(1.9841269863040545271e-4);
  const P q6 = P::all(2.4801521322368693266e-5) + r * P::all(2.7557268480310025526e-6);
  const P q8 = P::all(2.7620075879983366586e-7) + r * P::all(2.5100375832561233664e-8);
  const P q = (q0 + q2 * r2) + r4 * ((q4 + q6 * r2) + q8 * r4);
  const P e = scale_by(P::all(1) + (r + q * r2), t);
  return zero_below(x, low, e);
}

// e^x with a relative error of 1.4e-14 + 2e-16 |x|: for what is added up in double, but from costs
// in float. The polynomial is the best of its degree.
inline Pack<double> quick_exp(Pack<double> x) noexcept {
  typedef Pack<double> P;
  const P low = P::all(-708), magic = P::all(0x1.8p52), per_unit = P::all(1.4426950408889634);
  const P y = min(max(x, low), P::all(650));
  const P t = y * per_unit + magic;
  const P r = y * per_unit - (t - magic);
  const P r2 = r * r, r4 = r2 * r2;
  const P q0 = P::all(1.0000000000000127) + r * P::all(0.693147180559871);
  const P q2 = P::all(0.24022650695649653) + r * P::all(0.05550410866868558);
  const P q4 = P::all(0.009618129192067202) + r * P::all(0.0013333557617609879);
  const P q6 = P::all(0.00015403434948081424) + r * P::all(1.5252984835578367e-05);
  const P q8 = P::all(1.3259405611204192e-06) + r * P::all(1.0150337260976417e-07);
  const P q = (q0 + q2 * r2) + r4 * ((q4 + q6 * r2) + r4 * q8);
  return zero_below(x, low, scale_by(q, t));
}

// 2^r for |r| <= 1/2 with a relative error of about 2e-7.
inline Pack<float> exp2_of_fraction(Pack<float> r) noexcept {
  typedef Pack<float> P;
  P q = P::all(0.00133908633647f);
  q = q * r + P::all(0.00967603191832f);
  q = q * r + P::all(0.0555035711422f);
  q = q * r + P::all(0.240221074853f);
  q = q * r + P::all(0.693147188026f);
  return q * r + P::all(1.00000007545f);
}

// 2^x with a relative error of about 2e-7, and 2^-126 below.
inline Pack<float> exp2(Pack<float> x) noexcept {
  typedef Pack<float> P;
  const P low = P::all(-126), magic = P::all(0x1.8p23f);
  const P y = min(max(x, low), P::all(126));
  const P t = y + magic;
  return scale_by(exp2_of_fraction(y - (t - magic)), t);
}

// e^x and e^y, x <= 88 and y <= 88, rounded to float with a relative error of about 2e-7; 0 below
// -87.
inline Pack<float> exp(Pack<double> x, Pack<double> y) noexcept {
  typedef Pack<float> P;
  Pack<double> whole[2], rest[2];
  const Pack<double> low = Pack<double>::all(-87 * 1.4426950408889634),
                     magic = Pack<double>::all(0x1.8p52);
  for (int h = 0; h < 2; ++h) {
    const Pack<double> z = max((h == 0 ? x : y) * Pack<double>::all(1.4426950408889634), low);
    whole[h] = (z + magic) - magic;
    rest[h] = z - whole[h];
  }
  const P k = joined(whole[0], whole[1]), r = joined(rest[0], rest[1]);
  return zero_below(k, P::all(-125), scale_by(exp2_of_fraction(r), k + P::all(0x1.8p23f)));
}

// log x for positive normal x. With s = (z - 1) / (z + 1), log z = 2 (s + s^3 / 3 + s^5 / 5 + ...),
// z in [1, 2).
inline Pack<double> log(Pack<double> x) noexcept {
  typedef Pack<double> P;
  P z, k;
  split(x, &z, &k);
  const P s = (z - P::all(1.4142135623730951)) / (z + P::all(1.4142135623730951));
  const P s2 = s * s;
  P q = P::all(1.0 / 21);
  q = q * s2 + P::all(1.0 / 19);
  q = q * s2 + P::all(1.0 / 17);
  q = q * s2 + P::all(1.0 / 15);
  q = q * s2 + P::all(1.0 / 13);
  q = q * s2 + P::all(1.0 / 11);
  q = q * s2 + P::all(1.0 / 9);
  q = q * s2 + P::all(1.0 / 7);
  q = q * s2 + P::all(1.0 / 5);
  q = q * s2 + P::all(1.0 / 3);
  const P half_log2 = P::all(0.34657359027997264);
  return (k + k) * half_log2 + (half_log2 + (s + s) * (P::all(1) + q * s2));
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
