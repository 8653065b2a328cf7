#include "cpu/exact/start.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/pool.hpp"

namespace kantorch::cpu::network {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

template <class T>
bool start_potentials(const Instance<T>& instance, const double* f_init, const double* g_init,
                      Screen& screen, const Cpu& exec) {
  const auto& kernels = reduced_cost_table().rows(T{});
  const Index n = instance.n();
  const Index m = instance.m();
  screen.f.assign(static_cast<std::size_t>(n), 0);
  screen.g.assign(static_cast<std::size_t>(m), 0);

  // Transforms both ways bring any g to potentials that are feasible and of the size of the costs.
  if (f_init != nullptr && g_init != nullptr) {
    for (Index j = 0; j < m; ++j) {
      const double g = std::ldexp(g_init[instance.cols[j]], -instance.exponent);
      screen.g[j] = std::isfinite(g) ? g : -infinity;
    }
    const double top = *std::max_element(screen.g.begin(), screen.g.end());
    for (double& g : screen.g) g = std::isfinite(top) ? std::max(g - top, -4.0) : 0;
    if (!for_rows(instance, exec, [&](Index i, const T* row) {
          screen.f[i] = kernels.least(row, instance.scale, instance.base, screen.g.data(), m);
        })) {
      return false;
    }
  } else {
    for (Index i = 0; i < n; ++i) screen.f[i] = instance.working(instance.lows[i]);
  }
  screen.stride = Screen::padded(m);
  screen.g.assign(static_cast<std::size_t>(m), infinity);
  if (m != instance.cost.cols) {
    return for_rows(instance, exec.serial(), [&](Index i, const T* row) {
      kernels.lower(row, instance.scale, instance.base, screen.f[i], m, screen.g.data());
    });
  }
  constexpr Index strip = 512;  // columns
  return parallel_for((m + strip - 1) / strip, team(exec, n * m), [&](Index k) {
    const Index first = k * strip, width = std::min(strip, m - first);
    for (Index i = 0; i < n; ++i) {
      if (i % 128 == 127 && exec.stopped()) return;
      kernels.lower(instance.row(i, nullptr) + first, instance.scale, instance.base, screen.f[i],
                    width, screen.g.data() + first);
    }
  });
}

template <class T>
bool fill_screen(const Instance<T>& instance, Screen& screen, const Cpu& exec) {
  const auto& kernels = reduced_cost_table().rows(T{});
  const Index m = instance.m();
  return for_rows(instance, exec, [&](Index i, const T* row) {
    float* out = screen.data + i * screen.stride;
    kernels.screen(row, instance.scale, instance.base, screen.f[i], screen.g.data(), m, out);
    std::fill(out + m, out + screen.stride, screen_absent);
  });
}

bool fill_shortlist(const Screen& screen, Shortlist& shortlist, const Cpu& exec) {
  const auto& kernels = reduced_cost_table();
  const Index n = static_cast<Index>(screen.f.size());
  const std::size_t count = static_cast<std::size_t>(n * shortlist_size);
  shortlist.values.resize(count);
  shortlist.columns.resize(count);
  const Index block = std::max<Index>(1, std::min(n, 65536 / screen.stride));
  return parallel_for((n + block - 1) / block, team(exec, n * screen.stride), [&](Index k) {
    for (Index i = k * block; i < std::min(n, (k + 1) * block); ++i)
      kernels.shortlist(screen.row(i), screen.stride, &shortlist.values[i * shortlist_size],
                        &shortlist.columns[i * shortlist_size]);
  });
}

template bool start_potentials<float>(const Instance<float>&, const double*, const double*, Screen&,
                                      const Cpu&);
template bool start_potentials<double>(const Instance<double>&, const double*, const double*,
                                       Screen&, const Cpu&);
template bool fill_screen<float>(const Instance<float>&, Screen&, const Cpu&);
template bool fill_screen<double>(const Instance<double>&, Screen&, const Cpu&);
}  // namespace kantorch::cpu::network
