#include "cpu/simd/laplacian_rows.hpp"

#include "cpu/simd/products.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

typedef Pack<double> P;

// A tile of tile_rows times tile_packs packs fills the registers of the level.
constexpr int tile_rows = KANTORCH_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int tile_packs = 3;
constexpr Index deepest = 64;

template <int R, int V>
inline void tile(double* w, Index ld, const double* x, Index ldx, const double* y, Index ldy,
                 const Index* used, Index depth) noexcept {
  P total[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) total[r][v] = P::all(0);
  }
  for (Index s = 0; s < depth; ++s) {
    const Index p = used[s];
    P ys[V];
    for (int v = 0; v < V; ++v) ys[v] = P::load(y + p * ldy + v * P::size);
    for (int r = 0; r < R; ++r) {
      const P xs = P::all(x[p * ldx + r]);
      for (int v = 0; v < V; ++v) total[r][v] = total[r][v] + xs * ys[v];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      double* to = w + r * ld + v * P::size;
      (P::load(to) + total[r][v]).store(to);
    }
  }
}

// The last columns, fewer than a tile has.
template <int R>
inline void edge(double* w, Index ld, Index cols, const double* x, Index ldx, const double* y,
                 Index ldy, const Index* used, Index depth) noexcept {
  sweep<double>(cols, [&](Index k, auto lanes) {
    P total[R];
    for (int r = 0; r < R; ++r) total[r] = P::all(0);
    for (Index s = 0; s < depth; ++s) {
      const Index p = used[s];
      const P ys = load(y + p * ldy + k, lanes);
      for (int r = 0; r < R; ++r) total[r] = total[r] + P::all(x[p * ldx + r]) * ys;
    }
    for (int r = 0; r < R; ++r)
      store(w + r * ld + k, load(w + r * ld + k, lanes) + total[r], lanes);
  });
}

template <int R>
inline void strip(double* w, Index ld, Index cols, const double* x, Index ldx, const double* y,
                  Index ldy, Index depth) noexcept {
  Index used[deepest];
  Index count = 0;
  for (Index p = 0; p < depth; ++p) {
    bool any = false;
    for (int r = 0; r < R; ++r) any |= x[p * ldx + r] != 0;
    if (any) used[count++] = p;
  }
  if (count == 0) return;
  constexpr Index width = tile_packs * P::size;
  Index k = 0;
  for (; k + width <= cols; k += width)
    tile<R, tile_packs>(w + k, ld, x, ldx, y + k, ldy, used, count);
  if (k < cols) edge<R>(w + k, ld, cols - k, x, ldx, y + k, ldy, used, count);
}

void rank_update(double* w, Index ld, Index rows, Index cols, const double* x, Index ldx,
                 const double* y, Index ldy, Index depth) noexcept {
  for (Index p = 0; p < depth; p += deepest) {
    const Index some = depth - p < deepest ? depth - p : deepest;
    Index i = 0;
    for (; i + tile_rows <= rows; i += tile_rows) {
      strip<tile_rows>(w + i * ld, ld, cols, x + p * ldx + i, ldx, y + p * ldy, ldy, some);
    }
    for (; i < rows; ++i)
      strip<1>(w + i * ld, ld, cols, x + p * ldx + i, ldx, y + p * ldy, ldy, some);
  }
}

double sum(const double* x, Index size) noexcept {
  P total = P::all(0);
  sweep<double>(size, [&](Index j, auto lanes) { total = total + load(x + j, lanes); });
  return KANTORCH_SIMD::sum(total);
}

double dot(const double* x, const double* y, Index size) noexcept {
  P total = P::all(0);
  sweep<double>(
      size, [&](Index j, auto lanes) { total = total + load(x + j, lanes) * load(y + j, lanes); });
  return KANTORCH_SIMD::sum(total);
}

void add_multiple(double s, const double* x, Index size, double* y) noexcept {
  add_multiples<1>(x, 0, size, &s, y);
}

void scale(double s, const double* x, Index size, double* y) noexcept {
  sweep<double>(size,
                [&](Index j, auto lanes) { store(y + j, P::all(s) * load(x + j, lanes), lanes); });
}

}  // namespace

extern const LaplacianTable laplacian_table;
const LaplacianTable laplacian_table = {rank_update, sum, dot, add_multiple, scale};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
