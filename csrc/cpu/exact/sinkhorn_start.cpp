#include "cpu/exact/sinkhorn_start.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/runtime/flush_subnormals.hpp"
#include "cpu/runtime/pool.hpp"
#include "cpu/simd/sinkhorn_start.hpp"

namespace kantorch::cpu::network {
namespace {

constexpr double log2_e = 1.4426950408889634;
constexpr double coarsest = 0.1;  // eps / mean cost
constexpr double decay = 0.25;    // as in `sharpen`
constexpr int sharpened = 2;      // levels after one with a kernel from the costs
constexpr int iterations = 6;

// Whether costs of about 1 can be divided by eps in float32.
bool rates_fit(double eps) noexcept { return eps > 1e-30; }

}  // namespace

template <class T>
bool anneal(const Instance<T>& instance, Screen& screen, std::uint32_t* kernel, const Cpu& exec) {
  const auto& kernels = sinkhorn_start_table();
  const auto& costs = reduced_cost_table().rows(T{});
  const Index n = instance.n();
  const Index m = screen.stride;
  const Index real = instance.m();
  // Blocks of rows with sums of their own: of a size that does not depend on the threads, and short
  // enough to be stopped between them.
  const Index parts = n * m < (1 << 17) ? 1 : std::clamp<Index>(n * m >> 22, 8, 64);
  const Index block = ((n + parts - 1) / parts + 7) / 8 * 8;
  const Index blocks = (n + block - 1) / block;
  const Cpu threads = team(exec, n * m);
  const auto floats = [](Index size, float value) {
    return std::vector<float>(static_cast<std::size_t>(size), value);
  };
  std::vector<float> f = floats(n, 0), g = floats(m, 0), u = floats(n, 1), v = floats(m, 1);
  std::vector<float> a = floats(n, 0), b = floats(m, 0), w = floats(m, 0);
  std::vector<float> sums = floats(blocks * m, 0);
  double mass = 0;
  for (const double x : instance.a) mass += x;
  for (Index i = 0; i < n; ++i) a[i] = static_cast<float>(instance.a[i] / mass);
  for (Index j = 0; j < real; ++j) b[j] = static_cast<float>(instance.b[j] / mass);

  // Costs reduced by the potentials of the start: the screen, or made whenever they are needed.
  const bool stored = static_cast<void*>(kernel) != screen.data;
  if (stored && !fill_screen(instance, screen, exec)) return false;
  std::vector<float> reduced = floats(stored ? 0 : blocks * m, 0);
  std::vector<T> gathered(
      stored || real == instance.cost.cols ? 0 : static_cast<std::size_t>(blocks * real));
  const auto reduced_row = [&](Index i, Index k) -> const float* {
    if (stored) return screen.row(i);
    float* const out = reduced.data() + k * m;
    costs.screen(instance.row(i, gathered.empty() ? nullptr : gathered.data() + k * real),
                 instance.scale, instance.base, screen.f[i], screen.g.data(), real, out);
    std::fill(out + real, out + m, screen_absent);
    return out;
  };
  const double mean = mean_of(n, real, [&](Index i) { return reduced_row(i, 0); });

  // Ever fewer cells of a row matter: down to a few.
  const double finest = mean / std::sqrt(static_cast<double>(n * real));
  int level = 0;
  for (double eps = coarsest * mean; eps > finest && rates_fit(eps); eps *= decay, ++level) {
    const float rate = static_cast<float>(log2_e / eps);
    const auto rebuild = [&](Index k) {
      const FlushSubnormals guard;
      for (Index i = k * block; i < std::min(n, (k + 1) * block); ++i) {
        std::uint32_t* const row = kernel + i * (m / 2);
        if (level % (sharpened + 1) == 0)
          kernels.gibbs(reduced_row(i, k), f[i], g.data(), rate, m, row);
        else
          kernels.sharpen(row, u[i], v.data(), m);
      }
    };
    if (!parallel_for(blocks, threads, rebuild)) return false;
    std::fill(u.begin(), u.end(), 1.0f);
    std::fill(v.begin(), v.end(), 1.0f);
    w = b;
    for (int iteration = 0; iteration < iterations; ++iteration) {
      const bool relaxed = iteration > 0;
      const auto half = [&](Index k) {
        const FlushSubnormals guard;
        const Index first = k * block;
        float* sum = sums.data() + k * m;
        std::fill(sum, sum + m, 0.0f);
        kernels.rows(kernel + first * (m / 2), std::min(block, n - first), m, w.data(),
                     a.data() + first, relaxed, u.data() + first, sum);
      };
      if (!parallel_for(blocks, threads, half)) return false;
      for (Index k = 1; k < blocks; ++k)
        for (Index j = 0; j < m; ++j) sums[j] += sums[k * m + j];
      kernels.columns(sums.data(), b.data(), m, relaxed, v.data(), w.data());
    }
    for (Index i = 0; i < n; ++i) f[i] += static_cast<float>(eps) * std::log(u[i]);
    for (Index j = 0; j < real; ++j) g[j] += static_cast<float>(eps) * std::log(v[j]);
  }
  for (Index i = 0; i < n; ++i) screen.f[i] += f[i];
  for (Index j = 0; j < real; ++j) screen.g[j] += g[j];
  return true;
}

template bool anneal<float>(const Instance<float>&, Screen&, std::uint32_t*, const Cpu&);
template bool anneal<double>(const Instance<double>&, Screen&, std::uint32_t*, const Cpu&);

}  // namespace kantorch::cpu::network
