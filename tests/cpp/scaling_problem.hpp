// A random problem, its solution by a scaling solver, and the loops that define what the solver
// must return.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "core/bound.hpp"
#include "core/gibbs.hpp"
#include "core/implicit.hpp"
#include "core/ipot.hpp"
#include "core/point_gradient.hpp"
#include "core/sinkhorn.hpp"

namespace scaling_test {

using kantorch::Cpu;
using kantorch::Index;
using kantorch::Outcome;
using kantorch::ScalingResult;

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

template <class T>
struct Instance {
  Index batch, n, m;
  std::vector<T> cost, a, b;

  Instance(Index batch_, Index n_, Index m_, unsigned seed = 0)
      : batch(batch_), n(n_), m(m_), cost(at(batch * n * m)), a(at(batch * n)), b(at(batch * m)) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (T& c : cost) c = static_cast<T>(uniform(random));
    for (T& x : a) x = static_cast<T>(uniform(random));
    for (T& y : b) y = static_cast<T>(uniform(random));
    rescale();
  }

  // Makes the mass of b that of a, in each problem.
  void rescale() {
    for (Index k = 0; k < batch; ++k) {
      double mass_a = 0, mass_b = 0;
      for (Index i = 0; i < n; ++i) mass_a += static_cast<double>(a[at(k * n + i)]);
      for (Index j = 0; j < m; ++j) mass_b += static_cast<double>(b[at(k * m + j)]);
      for (Index j = 0; j < m; ++j)
        b[at(k * m + j)] = static_cast<T>(static_cast<double>(b[at(k * m + j)]) * mass_a / mass_b);
    }
  }
};

struct Solution {
  std::vector<double> f, g, eps, value, value_linear, row_sum, col_sum, marginal_error, bound;
  std::vector<std::int64_t> n_iter;
  std::vector<std::int32_t> status;
  Outcome outcome = Outcome::done;

  Solution(Index batch, Index n, Index m)
      : f(at(batch * n)),
        g(at(batch * m)),
        eps(at(batch)),
        value(at(batch)),
        value_linear(at(batch)),
        row_sum(at(batch * n)),
        col_sum(at(batch * m)),
        marginal_error(at(batch)),
        bound(at(batch)),
        n_iter(at(batch)),
        status(at(batch)) {}

  ScalingResult view() {
    return {f.data(),
            g.data(),
            eps.data(),
            value.data(),
            value_linear.data(),
            row_sum.data(),
            col_sum.data(),
            marginal_error.data(),
            bound.data(),
            n_iter.data(),
            status.data()};
  }
};

// So many bytes of scratch.
inline std::vector<char> scratch(Index bytes) { return std::vector<char>(at(bytes)); }

struct Options {
  double tol = 0;
  Index max_iter = 100;
  Cpu exec{};
  const Solution* init = nullptr;
};

struct Sinkhorn {
  template <class... Given>
  static Index workspace(const Given&... given) {
    return sinkhorn_workspace(given...);
  }
  template <class... Given>
  static kantorch::Outcome solve(const Given&... given) {
    return sinkhorn(given...);
  }
};

struct Ipot {
  template <class... Given>
  static Index workspace(const Given&... given) {
    return ipot_workspace(given...);
  }
  template <class... Given>
  static kantorch::Outcome solve(const Given&... given) {
    return ipot(given...);
  }
};

// `strength` is eps for Sinkhorn and beta for IPOT. If there are `points`, only they are given and
// the cost is not.
template <class Solver, class T>
Solution solve(const Instance<T>& instance, double strength, const Options& options,
               const kantorch::PointsBatch<T>& points = {}) {
  const Index n = instance.n, m = instance.m;
  const std::vector<double> strengths(at(instance.batch), strength);
  kantorch::ScalingProblem<T> problem;
  const T* cost = points.given() ? nullptr : instance.cost.data();
  problem.cost = {cost, instance.batch, n, m, n * m, m, points};
  problem.a = {instance.a.data(), n};
  problem.b = {instance.b.data(), m};
  if (options.init != nullptr) {
    problem.f_init = {options.init->f.data(), n};
    problem.g_init = {options.init->g.data(), m};
  }
  problem.tol = options.tol;
  problem.max_iter = options.max_iter;
  Solution solution(instance.batch, n, m);
  problem.strength = strengths.data();
  auto workspace = scratch(Solver::workspace(problem, options.exec.threads));
  solution.outcome =
      Solver::solve(problem, solution.view(), static_cast<void*>(workspace.data()), options.exec);
  return solution;
}

template <class T>
Solution solve_sinkhorn(const Instance<T>& instance, double eps, const Options& options = {}) {
  return solve<Sinkhorn>(instance, eps, options);
}

template <class T>
Solution solve_ipot(const Instance<T>& instance, double beta, const Options& options = {}) {
  return solve<Ipot>(instance, beta, options);
}

// The plan of problem k, by its definition.
template <class T>
std::vector<double> plan_of(const Instance<T>& instance, const Solution& solution, Index k = 0) {
  const Index n = instance.n, m = instance.m;
  std::vector<double> plan(at(n * m));
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < m; ++j) {
      const double c = static_cast<double>(instance.cost[at((k * n + i) * m + j)]);
      const double exponent =
          (solution.f[at(k * n + i)] + solution.g[at(k * m + j)] - c) / solution.eps[at(k)];
      const double x = static_cast<double>(instance.a[at(k * n + i)]),
                   y = static_cast<double>(instance.b[at(k * m + j)]);
      plan[at(i * m + j)] = x > 0 && y > 0 ? x * y * std::exp(exponent) : 0;
    }
  }
  return plan;
}

// log sum_j exp(x_j)
inline double log_sum_exp(const std::vector<double>& x) {
  double top = -INFINITY, sum = 0;
  for (const double value : x) top = std::fmax(top, value);
  if (top == -INFINITY) return top;
  for (const double value : x) sum += std::exp(value - top);
  return top + std::log(sum);
}

inline double largest_difference(const std::vector<double>& x, const std::vector<double>& y) {
  double largest = 0;
  for (std::size_t s = 0; s < x.size(); ++s) largest = std::fmax(largest, std::abs(x[s] - y[s]));
  return largest;
}

}  // namespace scaling_test
