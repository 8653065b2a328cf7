#include "cpu/simd/ipot_kernel_rows.hpp"

#include <type_traits>

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "cpu/simd/exp.hpp"
#include "cpu/simd/lanes.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

// Entries of E pass through the subnormal numbers, which many processors multiply slowly, on their
// way to 0. Unlike the guard in runtime/flush_subnormals.hpp this one takes subnormal operands for
// 0, too, and as it is compiled for each SIMD level it must not be shared by them.
class ZeroSubnormals {
 public:
#if defined(__SSE2__) || defined(_M_X64)
  ZeroSubnormals() noexcept : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~ZeroSubnormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  ZeroSubnormals() noexcept {}
  ~ZeroSubnormals() {}
#endif
};

// 2^x for x clamped to [-125, 126] in float, with a relative error of 2e-9 before it is rounded,
// and as `exp` is in double.
template <class T>
inline Pack<double> power2(Pack<double> x) noexcept {
  typedef Pack<double> P;
  if (sizeof(T) == sizeof(double)) return exp(x * P::all(0.6931471805599453));
  const P magic = P::all(0x1.8p52);
  const P y = min(max(x, P::all(-125)), P::all(126));
  const P t = y + magic;
  const P r = y - (t - magic);
  const P r2 = r * r;
  const P high = P::all(9.6184888936541313e-3) +
                 r * (P::all(1.3399931196591552e-3) + r * P::all(1.534582084126157e-4));
  const P middle = P::all(2.4022646891836197e-1) + r * P::all(5.5503287767131315e-2);
  const P low = P::all(1.0000000005537595) + r * P::all(6.9314720573756716e-1);
  return scale_by(low + r2 * (middle + r2 * high), t);
}

// 2^x and 2^y in float, clamped as above. Rounding in the polynomial makes errors of about one unit
// in the last place, where one rounding has a half.
inline Pack<float> power2(Pack<double> x, Pack<double> y) noexcept {
  typedef Pack<float> P;
  Pack<double> whole[2], rest[2];
  const Pack<double> magic = Pack<double>::all(0x1.8p52);
  for (int h = 0; h < 2; ++h) {
    const Pack<double> z =
        min(max(h == 0 ? x : y, Pack<double>::all(-125)), Pack<double>::all(126));
    whole[h] = (z + magic) - magic;
    rest[h] = z - whole[h];
  }
  const P k = joined(whole[0], whole[1]), r = joined(rest[0], rest[1]);
  P q = P::all(1.534582084126157e-4f);
  q = q * r + P::all(1.3399931196591552e-3f);
  q = q * r + P::all(9.6184888936541313e-3f);
  q = q * r + P::all(5.5503287767131315e-2f);
  q = q * r + P::all(2.4022646891836197e-1f);
  q = q * r + P::all(6.9314720573756716e-1f);
  return scale_by(q * r + P::all(1), k + P::all(0x1.8p23f));
}

// -R of a pack of the cost.
template <class T, class Lanes>
inline Pack<double> exponent(const T* c, double f, const double* g, double rate,
                             Lanes lanes) noexcept {
  typedef Pack<double> P;
  return ((widen(c, lanes) - P::all(f)) - load(g, lanes)) * P::all(-rate);
}

// One row of a tile from column `from` on. Where `massless`, entries below 0 of columns without
// mass count as 0.
template <bool massless, bool once, class T>
inline Pack<double> build_row_from(Index from, const T* c, Index m, double f, const double* g,
                                   const double* b, double rate, double t, T* E, T* K) noexcept {
  typedef Pack<double> P;
  constexpr Index lanes_in_tile = Pack<T>::size;
  const P ts = P::all(t);
  P most = P::all(0);
  sweep<double>(m - from, [&](Index j, auto lanes) {
    j += from;
    P x = exponent(c + j, f, g + j, rate, lanes);
    if (massless) x = where_positive(load(b + j, lanes), x, min(x, P::all(0)));
    most = max(x, most);
    const Index at = j / lanes_in_tile * (tile_rows * lanes_in_tile) + j % lanes_in_tile;
    const P k = power2<T>(x);
    narrow(K + at, k, lanes);
    narrow(E + at, once ? k : power2<T>(ts * x), lanes);
  });
  return most;
}

template <bool massless, bool once>
inline Pack<double> build_row(const double* c, Index m, double f, const double* g, const double* b,
                              double rate, double t, double* E, double* K) noexcept {
  return build_row_from<massless, once>(0, c, m, f, g, b, rate, t, E, K);
}

template <bool massless, bool once>
inline Pack<double> build_row(const float* c, Index m, double f, const double* g, const double* b,
                              double rate, double t, float* E, float* K) noexcept {
  typedef Pack<double> P;
  const AllLanes<double> lanes;
  const P ts = P::all(t);
  P most = P::all(0);
  Index j = 0;
  for (; !massless && j + Pack<float>::size <= m; j += Pack<float>::size) {
    const P x = exponent(c + j, f, g + j, rate, lanes);
    const P y = exponent(c + j + P::size, f, g + j + P::size, rate, lanes);
    most = max(max(x, y), most);
    const Pack<float> k = power2(x, y);
    k.store(K + j * tile_rows);
    (once ? k : power2(ts * x, ts * y)).store(E + j * tile_rows);
  }
  return max(build_row_from<massless, once>(j, c, m, f, g, b, rate, t, E, K), most);
}

template <class T>
double build(const T* cost, Index stride, Index count, Index m, const double* f, const double* g,
             const double* a, const double* b, double rate, double t, T* E, T* K) noexcept {
  constexpr Index lanes = Pack<T>::size;
  const Index width = padded(m, tile_columns);
  if (count < tile_rows || width > m) {
    const Pack<T> one = Pack<T>::all(1);
    const Index from = count < tile_rows ? 0 : m / lanes * lanes;
    for (Index at = from * tile_rows; at < width * tile_rows; at += lanes) {
      one.store(E + at);
      one.store(K + at);
    }
  }
  Pack<double> most = Pack<double>::all(0);
  for (Index i = 0; i < count; ++i) {
    const auto row = [&](auto massless, auto once) {
      return build_row<massless.value, once.value>(cost + i * stride, m, f[i], g, b, rate, t,
                                                   E + i * lanes, K + i * lanes);
    };
    const Pack<double> in_row = !(a[i] > 0) ? row(std::true_type{}, std::false_type{})
                                : t == 1    ? row(std::false_type{}, std::true_type{})
                                            : row(std::false_type{}, std::false_type{});
    most = max(in_row, most);
  }
  return largest(most);
}

#if defined(__AVX2__) && (defined(__GNUC__) || defined(__clang__))

inline __m256 halved(Pack<float> x) noexcept {
#ifdef __AVX512F__
  __m256 halves[2];
  std::memcpy(halves, &x.v, sizeof(halves));
  return _mm256_add_ps(halves[0], halves[1]);
#else
  return (__m256)x.v;
#endif
}

// The sums of eight packs.
inline void sums(const Pack<float>* x, float* out) noexcept {
  const __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(halved(x[0]), halved(x[1])),
                                    _mm256_hadd_ps(halved(x[2]), halved(x[3])));
  const __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(halved(x[4]), halved(x[5])),
                                     _mm256_hadd_ps(halved(x[6]), halved(x[7])));
  _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                                      _mm256_permute2f128_ps(low, high, 0x31)));
}

#else

inline void sums(const Pack<float>* x, float* out) noexcept {
  for (Index i = 0; i < tile_rows; ++i) out[i] = sum(x[i]);
}

#endif

inline void sums(const Pack<double>* x, double* out) noexcept {
  for (Index i = 0; i < tile_rows; ++i) out[i] = sum(x[i]);
}

// total_i = the packs of sum_j w_j e_ij for Q rows of a group.
template <int Q, bool advance, class T>
inline void row_products(T* E, const T* K, Index m, const T* w, T* e, Pack<T>* total) noexcept {
  typedef Pack<T> V;
  constexpr Index lanes = V::size;
  V sum_of_row[Q];
  for (int i = 0; i < Q; ++i) sum_of_row[i] = V::all(0);
  for (Index j = 0; j < m; j += lanes) {
    const V ws = V::load(w + j);
    T* tile = E + j * tile_rows;
    for (Index i = 0; i < Q; ++i) {
      V x = V::load(tile + i * lanes);
      if (advance) {
        const V k = V::load(K + j * tile_rows + i * lanes);
        x = x * k;
        x.store(e + j * Q + i * lanes);
        (x * k).store(tile + i * lanes);
      }
      sum_of_row[i] = sum_of_row[i] + ws * x;
    }
  }
  for (int i = 0; i < Q; ++i) total[i] = sum_of_row[i];
}

// col_j = (col_j +) sum_i x_i e_ij over Q rows of tiles that hold `rows_in_tile`.
template <int Q, bool first, class T>
inline void column_sums(const T* e, Index rows_in_tile, Index m, const T* x, T* col) noexcept {
  typedef Pack<T> V;
  constexpr Index lanes = V::size;
  V xs[Q];
  for (int i = 0; i < Q; ++i) xs[i] = V::all(x[i]);
  for (Index j = 0; j < m; j += lanes) {
    const T* tile = e + j * rows_in_tile;
    V even = V::load(tile) * xs[0], odd = V::load(tile + lanes) * xs[1];
    if (!first) even = even + V::load(col + j);
    for (Index i = 2; i < Q; i += 2) {
      even = even + V::load(tile + i * lanes) * xs[i];
      odd = odd + V::load(tile + (i + 1) * lanes) * xs[i + 1];
    }
    (even + odd).store(col + j);
  }
}

template <int Q, bool advance, class T>
inline void group(T* E, const T* K, Index m, const T* w, const T* a, bool first, T* s, T* e,
                  T* col) noexcept {
  constexpr Index lanes = Pack<T>::size;
  Pack<T> total[tile_rows];
  for (Index i = 0; i < tile_rows; ++i) total[i] = Pack<T>::all(1);
  for (Index part = 0; part < tile_rows; part += Q) {
    row_products<Q, advance>(E + part * lanes, K + part * lanes, m, w, e + part * m, total + part);
  }
  sums(total, s);
  T x[tile_rows];
  for (Index i = 0; i < tile_rows; ++i) x[i] = a[i] / s[i];
  for (Index part = 0; part < tile_rows; part += Q) {
    const T* from = advance ? e + part * m : E + part * lanes;
    const Index rows_in_tile = advance ? Q : tile_rows;
    if (first && part == 0) {
      column_sums<Q, true>(from, rows_in_tile, m, x + part, col);
    } else {
      column_sums<Q, false>(from, rows_in_tile, m, x + part, col);
    }
  }
}

template <class T>
struct RangeOf {
  Pack<T> low = Pack<T>::all(1);
  Pack<T> high = Pack<T>::all(1);

  void take(Pack<T> x) noexcept {
    low = min(x, low);
    high = max(x, high);
  }
  KernelRange<T> result() const noexcept { return {smallest(low), largest(high)}; }
};

template <class T>
KernelRange<T> rows(T* E, const T* K, Index count, Index m, const T* w, const T* a, bool advance,
                    T* s, T* e, T* col) noexcept {
  const ZeroSubnormals flushed;
  // The rows of E, K and e that a group works on should stay in a first-level cache of 32 KiB.
  const bool narrow_rows = m * static_cast<Index>(sizeof(T)) <= 1024;
  for (Index i = 0; i < count; i += tile_rows) {
    T* tiles = E + i * m;
    const T* steps = K + i * m;
    if (!advance) {
      group<8, false>(tiles, steps, m, w, a + i, i == 0, s + i, e, col);
    } else if (narrow_rows) {
      group<8, true>(tiles, steps, m, w, a + i, i == 0, s + i, e, col);
    } else {
      group<4, true>(tiles, steps, m, w, a + i, i == 0, s + i, e, col);
    }
  }
  RangeOf<T> range;
  sweep<T>(count, [&](Index i, auto lanes) { range.take(load(s + i, lanes, T{1})); });
  return range.result();
}

template <class T>
KernelRange<T> columns(const T* parts, Index stride, Index count, Index m, const T* b,
                       const T* last, T* c, T* w) noexcept {
  typedef Pack<T> V;
  const ZeroSubnormals flushed;
  RangeOf<T> range;
  V nothing = V::all(0);
  for (Index j = 0; j < m; j += V::size) {
    V total = V::load(parts + j);
    for (Index k = 1; k < count; ++k) total = total + V::load(parts + k * stride + j);
    total.store(c + j);
    const V ratio = V::load(last + j) / (total * total);
    (V::load(b + j) * ratio).store(w + j);
    range.take(total);
    range.high = max(ratio, range.high);
    nothing = nothing + (total - total);
  }
  KernelRange<T> result = range.result();
  result.high += sum(nothing);
  return result;
}

template <class T>
void power(const double* x, Index size, T* out) noexcept {
  sweep<double>(
      size, [&](Index i, auto lanes) { narrow(out + i, power2<T>(load(x + i, lanes)), lanes); });
}

template <class T>
void minus_log(const T* x, Index size, double* out) noexcept {
  typedef Pack<double> P;
  sweep<double>(size, [&](Index i, auto lanes) {
    const P y = max(widen(x + i, lanes), P::all(1e-300));
    store(out + i, log(y) * P::all(-1.4426950408889634), lanes);
  });
}

template <class T>
constexpr IpotKernelRows<T> rows_for() noexcept {
  return {build<T>, rows<T>, columns<T>, power<T>, minus_log<T>};
}

}  // namespace

extern const IpotKernelTable ipot_kernel_table;
const IpotKernelTable ipot_kernel_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
