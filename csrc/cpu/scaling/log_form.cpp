#include "cpu/scaling/log_form.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/flush_subnormals.hpp"
#include "cpu/simd/gibbs_rows.hpp"
#include "cpu/simd/log_rows.hpp"
#include "cpu/simd/scaling_rows.hpp"

namespace kantorch::cpu {
namespace {

// How far a potential may move in an iteration without a largest exponent: what underflows is then
// below e^-87 + 2 * 20 of the row sum.
template <class T>
constexpr double bound = sizeof(T) == sizeof(float) ? 20 : 200;

// The largest |F| + |G|, and |x|^2 + |y|^2 in the same units, for float arithmetic: an exponent is
// then off by about 2^-24 * 2 * 128 / log 2 = 2e-5.
constexpr double float_reach = 128;

constexpr Index sampled_panels = 16;

constexpr Index strip = 64;  // rows whose column sums are added up in T

template <class T>
constexpr bool single = sizeof(T) == sizeof(float);

// Inner products cancel, but not to less than what the potentials leave of an exponent in float.
template <class T>
bool may_use_products(const PointsView<T>& points) noexcept {
  return single<T> && points.metric == Metric::sqeuclidean;
}

template <class T>
bool safe(const ScalingRange& range) noexcept {
  return range.low >= std::exp(-bound<T>) && range.high <= std::exp(bound<T>) &&
         std::isfinite(range.error);
}

}  // namespace

template <class T>
LogForm<T>::LogForm(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, Index dims) noexcept
    : passes_(passes),
      rows_(n),
      cols_(m),
      stride_(padded(m, panel)),
      centred_(arena, n, m, dims),
      sample_(arena.take<T>(sampled_panels * panel * dims)),
      to_sample_(arena.take<T>(passes.blocks().count * distance_group * sampled_panels * panel)),
      offset_(arena.take<double>(n)),
      g_offset_(arena.take<T>(stride_)),
      w_(arena.take<T>(stride_)),
      u_(arena.take<double>(n)),
      v_(arena.take<double>(m)),
      ones_(arena.take<double>(m)),
      ranges_(arena.take<ScalingRange>(passes.blocks().count)) {}

template <class T>
void LogForm<T>::start(const double* a, const double* b, double* f, double* g) noexcept {
  a_ = a;
  b_ = b;
  f_ = f;
  g_ = g;
  settled_ = refined_ = false;
  fresh_ = true;
  std::fill_n(ones_, cols_, 1.0);
  if (may_use_products<T>(passes_.cost_rows().points())) centred_.set(passes_.cost_rows().points());
}

// F_i from the largest exponent of a sample of the columns. It only has to keep exponents in range;
// if it does not, the scalings leave theirs, and an iteration is lost.
template <class T>
bool LogForm<T>::guess_rows() noexcept {
  const Index panels = stride_ / panel, taken = std::min(panels, sampled_panels);
  const Index columns = taken * panel;
  PointsView<T> points = passes_.cost_rows().points();
  const Index width = panel * points.dims;
  double height[sampled_panels * panel];  // in units of the cost
  for (Index k = 0; k < taken; ++k) {
    const Index from = k * panels / taken;
    std::copy_n(points.y + from * width, width, sample_ + k * width);
    for (Index j = 0; j < panel; ++j) {
      const Index at = from * panel + j;
      height[k * panel + j] =
          at < cols_ && b_[at] > 0 ? std::clamp(g_[at] / passes_.rate(), -1e300, 1e300) : -1e300;
    }
  }
  points.y = sample_;
  const RowBlocks& blocks = passes_.blocks();
  return parallel_for(blocks.count, passes_.exec(), [&](Index block) {
    T* c = to_sample_ + block * distance_group * columns;
    for (Index i = blocks.first(block); i < blocks.last(block); i += distance_group) {
      if (passes_.exec().stopped()) return;
      const Index count = std::min(distance_group, blocks.last(block) - i);
      distance_rows<T>().rows(points, points.x + i * points.dims, count, columns, c);
      for (Index r = 0; r < count; ++r) {
        f_[i + r] =
            std::clamp(gibbs_rows<T>().smallest(c + r * columns, height, columns) * passes_.rate(),
                       -1e300, 1e300);
      }
    }
  });
}

template <class T>
bool LogForm<T>::refined_step(double omega, double* error) noexcept {
  std::copy_n(f_, rows_, u_);
  std::copy_n(g_, cols_, v_);
  if (!settled_) omega = 1;
  if (!passes_.iterate(f_, g_, omega)) return false;
  // exp((F before - F) / omega) is the row's sum before its update, relative to its weight.
  double marginal_error = 0, moved = 0;
  for (Index i = 0; i < rows_; ++i)
    marginal_error += a_[i] * std::abs(std::expm1((u_[i] - f_[i]) / omega));
  for (Index j = 0; j < cols_; ++j) {
    marginal_error += b_[j] * std::abs(std::expm1((v_[j] - g_[j]) / omega));
    moved = std::max(moved, std::abs(g_[j] - v_[j]));
  }
  *error = marginal_error;
  settled_ = moved < bound<T> / 2;
  return true;
}

// Writes the offsets, with a constant moved from G to F that makes both small.
template <class T>
typename LogForm<T>::Source LogForm<T>::offsets() noexcept {
  const auto [low, high] = std::minmax_element(g_, g_ + cols_);
  const double shift = (*low + *high) / 2;
  double largest = 0;
  for (Index i = 0; i < rows_; ++i) {
    offset_[i] = (f_[i] + shift) / log_unit<T>;
    largest = std::max(largest, std::abs(f_[i] + shift));
  }
  if (single<T> && !(largest + (*high - *low) / 2 <= float_reach)) return Source::refined;
  const double rate = passes_.rate();
  const bool products =
      may_use_products<T>(passes_.cost_rows().points()) && centred_.largest() * rate <= float_reach;
  for (Index j = 0; j < cols_; ++j) {
    const double square = products ? rate * centred_.square_of_y(j) : 0;
    g_offset_[j] = static_cast<T>((g_[j] - shift - square) / log_unit<T>);
    w_[j] = static_cast<T>(b_[j]);
  }
  std::fill(g_offset_ + cols_, g_offset_ + stride_, T(-1e30));
  std::fill(w_ + cols_, w_ + stride_, T{0});
  return products ? Source::products : Source::differences;
}

template <class T>
bool LogForm<T>::step(double omega, double* error) noexcept {
  if (fresh_ && !refined_) {
    if (!guess_rows()) return false;
    settled_ = true;
    omega = 1;
  }
  fresh_ = false;
  const Source source = refined_ || !settled_ ? Source::refined : offsets();
  if (source == Source::refined) return refined_step(omega, error);
  const auto& loops = log_rows<T>();
  const RowBlocks& blocks = passes_.blocks();
  CostRows<T>& cost = passes_.cost_rows();
  const double rate = passes_.rate() / log_unit<T>;
  const bool finished = parallel_for(blocks.count, passes_.exec(), [&](Index block) {
    const FlushSubnormals guard;
    T* col = reinterpret_cast<T*>(passes_.block_row(block));
    T* e = cost.of_block(block);
    double* total = passes_.block_sum(block);
    ranges_[block] = {};
    std::fill_n(col, cols_, T{0});
    const Index first = blocks.first(block), last = blocks.last(block);
    for (Index i = first; i < last;) {
      if (passes_.exec().stopped()) return;
      Index count = std::min(distance_group, last - i);
      if (source == Source::products) {
        T f[distance_group];
        for (Index r = 0; r < count; ++r)
          f[r] = static_cast<T>(offset_[i + r] - rate * centred_.square_of_x(i + r));
        loops.product_rows(centred_.scaled_x(i, count, 2 * rate, block), centred_.y(),
                           cost.points().dims, count, cols_, g_offset_, w_, f, a_ + i, omega,
                           u_ + i, e, col, &ranges_[block]);
      } else {
        count = cost.group(i, block);
        loops.rows(e, count, cols_, g_offset_, w_, static_cast<T>(rate), offset_ + i, a_ + i, omega,
                   u_ + i, col, &ranges_[block]);
      }
      i += count;
      if ((i - first) % strip == 0 || i == last)
        scaling_rows<T>().fold(col, cols_, i - first <= strip, total);
    }
  });
  if (!finished) return false;
  ScalingRange range;
  for (Index block = 0; block < blocks.count; ++block) {
    range.low = std::min(range.low, ranges_[block].low);
    range.high = std::max(range.high, ranges_[block].high);
    range.error += ranges_[block].error;
  }
  scaling_rows<T>().columns(passes_.block_sum(0), blocks.count, passes_.block_stride(), cols_, b_,
                            omega, ones_, v_, w_, &range);
  // The iteration depends on G alone, which has not moved yet.
  if (!safe<T>(range)) return refined_step(omega, error);
  for (Index i = 0; i < rows_; ++i) f_[i] += std::log(u_[i]);
  for (Index j = 0; j < cols_; ++j) g_[j] += std::log(v_[j]);
  *error = range.error;
  return true;
}

template class LogForm<float>;
template class LogForm<double>;

}  // namespace kantorch::cpu
