#include <math.h>

#include "cpu/simd/exp.hpp"
#include "cpu/simd/pack.hpp"
#include "cpu/simd/sinkhorn_start.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

typedef Pack<float> P;
constexpr Index width = P::size;

// A word of the kernel holds the entries of columns j and j + width: unpacking takes one operation.
struct Pair {
  P low;
  P high;
};

inline Pair unpack(const std::uint32_t* from) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  typedef Words<float>::Vector Words;
  Words words;
  std::memcpy(&words, from, sizeof(words));
  return {{(P::Vector)(words << 16)}, {(P::Vector)(words & 0xffff0000u)}};
#else
  Pair pair;
  for (Index k = 0; k < width; ++k) {
    const std::uint32_t low = from[k] << 16;
    const std::uint32_t high = from[k] & 0xffff0000u;
    std::memcpy(&pair.low.v[k], &low, sizeof(float));
    std::memcpy(&pair.high.v[k], &high, sizeof(float));
  }
  return pair;
#endif
}

inline void pack(P low, P high, std::uint32_t* to) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  typedef Words<float>::Vector Words;
  const Words words = (((Words)low.v + 0x8000u) >> 16) | (((Words)high.v + 0x8000u) & 0xffff0000u);
  std::memcpy(to, &words, sizeof(words));
#else
  for (Index k = 0; k < width; ++k) {
    std::uint32_t x, y;
    std::memcpy(&x, &low.v[k], sizeof(float));
    std::memcpy(&y, &high.v[k], sizeof(float));
    to[k] = ((x + 0x8000u) >> 16) | ((y + 0x8000u) & 0xffff0000u);
  }
#endif
}

// Sums of products of up to 2^60 with weights of at most 2^40 stay finite.
constexpr float largest_exponent = 60;
constexpr float largest_entry = 0x1p60f;
constexpr float largest_scaling = 0x1p40f;

inline float rescaled(float scaling, float sum, bool relaxed) noexcept {
  const float product = scaling * sum;
  float factor = 1 / (product > 0x1p-60f ? product : 0x1p-60f);
  if (relaxed) factor *= sqrtf(factor);
  const float next = scaling * factor;
  const float low = next > 1 / largest_scaling ? next : 1 / largest_scaling;
  return low < largest_scaling ? low : largest_scaling;
}

// 2^x for x <= 60, to the digits that bfloat16 has.
inline P rough_exp2(P x) noexcept {
  const P magic = P::all(0x1.8p23f);
  const P y = max(x, P::all(-126));
  const P t = y + magic;
  const P r = y - (t - magic);
  return scale_by(P::all(1.0004432f) + r * (P::all(0.7034486f) + r * P::all(0.2384290f)), t);
}

void gibbs(const float* cost, float f, const float* g, float rate, Index m,
           std::uint32_t* kernel) noexcept {
  const P fs = P::all(f), rates = P::all(rate), top = P::all(largest_exponent);
  const auto entries = [&](Index j) {
    return rough_exp2(min((fs + P::load(g + j) - P::load(cost + j)) * rates, top));
  };
  for (Index j = 0; j < m; j += 2 * width) pack(entries(j), entries(j + width), kernel + j / 2);
}

void sharpen(std::uint32_t* kernel, float u, const float* v, Index m) noexcept {
  const P us = P::all(u), top = P::all(largest_entry);
  const auto fourth = [&](P k, Index j) {
    const P entry = k * us * P::load(v + j);
    const P square = entry * entry;
    return min(square * square, top);
  };
  for (Index j = 0; j < m; j += 2 * width) {
    const Pair k = unpack(kernel + j / 2);
    pack(fourth(k.low, j), fourth(k.high, j + width), kernel + j / 2);
  }
}

template <int count>
void tile(const std::uint32_t* kernel, Index m, const float* w, const float* a, bool relaxed,
          float* u, float* sums) noexcept {
  P dot[count];
  for (int r = 0; r < count; ++r) dot[r] = P::all(0);
  for (Index j = 0; j < m; j += 2 * width) {
    const P w_low = P::load(w + j), w_high = P::load(w + j + width);
    for (int r = 0; r < count; ++r) {
      const Pair k = unpack(kernel + (r * m + j) / 2);
      dot[r] = dot[r] + k.low * w_low;
      dot[r] = dot[r] + k.high * w_high;
    }
  }
  P scaled[count];
  for (int r = 0; r < count; ++r) {
    u[r] = rescaled(u[r], sum(dot[r]), relaxed);
    scaled[r] = P::all(a[r] * u[r]);
  }
  for (Index j = 0; j < m; j += 2 * width) {
    P low = P::load(sums + j), high = P::load(sums + j + width);
    for (int r = 0; r < count; ++r) {
      const Pair k = unpack(kernel + (r * m + j) / 2);
      low = low + k.low * scaled[r];
      high = high + k.high * scaled[r];
    }
    low.store(sums + j);
    high.store(sums + j + width);
  }
}

void rows(const std::uint32_t* kernel, Index count, Index m, const float* w, const float* a,
          bool relaxed, float* u, float* sums) noexcept {
  Index i = 0;
  for (; i + 8 <= count; i += 8) tile<8>(kernel + i * m / 2, m, w, a + i, relaxed, u + i, sums);
  for (; i < count; ++i) tile<1>(kernel + i * m / 2, m, w, a + i, relaxed, u + i, sums);
}

void columns(const float* sums, const float* b, Index m, bool relaxed, float* v,
             float* w) noexcept {
  for (Index j = 0; j < m; ++j) {
    v[j] = rescaled(v[j], sums[j], relaxed);
    w[j] = v[j] * b[j];
  }
}

}  // namespace

extern const SinkhornStartTable sinkhorn_start_table;
const SinkhornStartTable sinkhorn_start_table = {gibbs, sharpen, rows, columns};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
