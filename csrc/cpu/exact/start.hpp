// The start of the network simplex: potentials, and what is made of the costs with them.
#pragma once

#include <algorithm>
#include <vector>

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/tree.hpp"

namespace kantorch::cpu::network {

// Float32 reduced costs against the potentials of the start (see simd/reduced_cost.hpp).
struct Screen {
  float* data = nullptr;
  Index stride = 0;  // the padded number of columns
  std::vector<double> f;
  std::vector<double> g;

  static Index padded(Index m) noexcept {
    return (m + screen_padding - 1) / screen_padding * screen_padding;
  }
  const float* row(Index i) const noexcept { return data + i * stride; }
};

// The mean of n rows of m reduced costs, over a sample of the rows.
template <class Row>
double mean_of(Index n, Index m, const Row& row_of) noexcept {
  const Index step = std::max<Index>(1, n / 32);
  double sum = 0;
  for (Index i = 0; i < n; i += step) {
    const float* row = row_of(i);
    float part[4] = {};
    Index j = 0;
    for (; j + 4 <= m; j += 4)
      for (Index k = 0; k < 4; ++k) part[k] += row[j + k];
    for (; j < m; ++j) part[0] += row[j];
    sum += (part[0] + part[1]) + (part[2] + part[3]);
  }
  return sum / static_cast<double>((n + step - 1) / step * m);
}

// Feasible potentials for the screen, from `f_init`, `g_init` (of the cost's points, in its unit)
// if they are given. Like the functions below: false if stopped, and bad_alloc may be thrown.
template <class T>
bool start_potentials(const Instance<T>& instance, const double* f_init, const double* g_init,
                      Screen& screen, const Cpu& exec);

template <class T>
bool fill_screen(const Instance<T>& instance, Screen& screen, const Cpu& exec);

// Of every row of a screen the columns that matter most, nearly. Empty where rows are short enough
// to be searched whole.
struct Shortlist {
  std::vector<float> values;
  std::vector<Node> columns;

  bool empty() const noexcept { return columns.empty(); }
  void clear() noexcept {
    values.clear();
    columns.clear();
  }
};

bool fill_shortlist(const Screen& screen, Shortlist& shortlist, const Cpu& exec);

}  // namespace kantorch::cpu::network
