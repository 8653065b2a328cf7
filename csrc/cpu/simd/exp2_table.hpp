// 2^x by a table in a register and a short polynomial, for exponents that are known to be in range.
//
// x = k / size + r with |r| <= 1 / (2 size). Where an addition of `magic` has left k in the low
// bits of z, the low bits of k choose 2^(k mod size / size) and the others become the exponent.
#pragma once

#include "cpu/simd/exp.hpp"

#if defined(__AVX2__) && (defined(__GNUC__) || defined(__clang__))
#define KANTORCH_EXP2_TABLE
#endif

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

#ifdef KANTORCH_EXP2_TABLE

class Exp2Table {
 public:
  static constexpr Index size = Pack<float>::size;
  static constexpr int bits = size == 16 ? 4 : 3;
  static constexpr float magic = 12582912.0f / size;                    // 1.5 2^23 / size
  static constexpr double magic_in_double = 6755399441055744.0 / size;  // 1.5 2^52 / size
  static_assert(size == 8 || size == 16, "a permutation takes 3 or 4 bits");

  // The entries' own shares of z << (23 - bits) are subtracted from them beforehand.
  Exp2Table() noexcept {
    constexpr float root[16] = {1.0f,          1.0442737824f, 1.0905077327f, 1.1387886347f,
                                1.1892071150f, 1.2418578121f, 1.2968395547f, 1.3542555469f,
                                1.4142135624f, 1.4768261459f, 1.5422108254f, 1.6104903320f,
                                1.6817928305f, 1.7562521604f, 1.8340080864f, 1.9152065614f};
    std::uint32_t entry[size];
    for (Index i = 0; i < size; ++i) {
      std::memcpy(&entry[i], &root[i * (16 / size)], sizeof(float));
      entry[i] -= static_cast<std::uint32_t>(i) << (23 - bits);
    }
    std::memcpy(&entries_.v, entry, sizeof(entry));
  }

  // 2^(k / size + r) for z = magic + k / size, with a relative error of about 1e-7.
  Pack<float> power(Pack<float> z, Pack<float> r) const noexcept {
    typedef Pack<float> P;
    typedef Words<float>::Vector Vector;
    P q = P::all(0.0554989004347f);
    q = q * r + P::all(0.240264072899f);
    q = q * r + P::all(0.693147208532f);
    q = q * r + P::all(0.999999981667f);
    const Vector scale = (Vector)chosen(z).v + ((Vector)z.v << (23 - bits));
    return P{(P::Vector)scale} * q;
  }

 private:
  Pack<float> chosen(Pack<float> z) const noexcept {
#ifdef __AVX512F__
    return {
        (Pack<float>::Vector)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)z.v, (__m512)entries_.v)};
#else
    return {(Pack<float>::Vector)_mm256_permutevar8x32_ps((__m256)entries_.v, (__m256i)z.v)};
#endif
  }

  Pack<float> entries_;
};

#else

// Without a permutation of that kind: a table of one entry, and a longer polynomial.
class Exp2Table {
 public:
  static constexpr float magic = 12582912.0f;
  static constexpr double magic_in_double = 6755399441055744.0;

  Pack<float> power(Pack<float> z, Pack<float> r) const noexcept {
    return scale_by(exp2_of_fraction(r), z);
  }
};

#endif

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
