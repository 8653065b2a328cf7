// One exact problem as the network simplex sees it; see csrc/cpu/exact/instance.hpp, whose units these are.
#pragma once

#include <cmath>
#include <limits>

#include "core/check.hpp"
#include "core/exact.hpp"
#include "cuda/exact/block.hpp"

namespace kantorch::cuda::network {

// Nodes are the rows 0..n-1, then the columns n..n+m-1.
using Node = int;

constexpr double unlimited = std::numeric_limits<double>::infinity();
constexpr double lost = std::numeric_limits<double>::denorm_min();

enum class Input { bad, empty, good };

// Working costs c = C * scale - base span [0, 1] over the working points, those whose mass is at least about 2^-52 of
// the total: scale is a power of two. Costs above a level are lowered to it (see `cap` in solve.hpp).
template <class T>
struct Instance {
  MatrixView<T> cost;
  const T* given_a;
  const T* given_b;
  Node n;
  Node m;
  double mass = 0;      // of a
  double b_scale = 1;   // what brings the given b to this mass
  double rounding = 0;  // how far a sum of working weights can be from that of given ones
  double level = unlimited;
  double lowest = 0;  // cost of the working points
  double highest = 0;
  double scale = 1;
  double base = 0;
  int exponent = 0;  // scale = 2^-exponent

  KANTORCH_DEVICE Node nodes() const { return n + m; }
  KANTORCH_DEVICE double given(Node i, Node j) const { return static_cast<double>(cost.row(i)[j]); }
  KANTORCH_DEVICE double capped(Node i, Node j) const { return fmin(given(i, j), level); }
  KANTORCH_DEVICE double unrounded(Node i, Node j) const { return capped(i, j) * scale; }
  KANTORCH_DEVICE double working(Node i, Node j) const { return unrounded(i, j) - base; }

  // What node v has to give or to get.
  KANTORCH_DEVICE double weight(Node v) const {
    return v < n ? static_cast<double>(given_a[v]) : static_cast<double>(given_b[v - n]) * b_scale;
  }
};

// Working weights, integers of equal sums below 2^52, 0 at points of hardly any mass.
template <class Team, class T>
KANTORCH_DEVICE Input read_weights(Block<Team>& block, Instance<T>& x, double* weights) {
  Team& team = block.team;
  const T* const a = x.given_a;
  const T* const b = x.given_b;
  bool bad = false, equal = true;
  double largest = 0;
  for (Node v = team.rank(); v < x.nodes(); v += team.size()) {
    const double weight = static_cast<double>(v < x.n ? a[v] : b[v - x.n]);
    bad |= !(weight >= 0 && weight < unlimited);
    equal &= weight == static_cast<double>(v < x.n ? a[0] : b[0]);
    largest = fmax(largest, weight);
  }
  if (block.reduce.any(bad)) return Input::bad;
  equal = !block.reduce.any(!equal);
  largest = block.reduce(largest, Max{});
  if (!(largest > 0)) return Input::empty;

  // Powers of two keep sums of very large or very small weights in range.
  int magnitude = 0;
  frexp(largest, &magnitude);
  const double unit = ldexp(1.0, magnitude < -1000 ? 1000 : magnitude > 1000 ? -1000 : -magnitude);
  Wide of_a{}, of_b{};
  for (Node i = team.rank(); i < x.n; i += team.size())
    of_a = of_a.plus({static_cast<double>(a[i]) * unit, 0});
  for (Node j = team.rank(); j < x.m; j += team.size())
    of_b = of_b.plus({static_cast<double>(b[j]) * unit, 0});
  const double sum_a = block.total(of_a), sum_b = block.total(of_b);
  x.mass = sum_a / unit;
  if (!(fabs(sum_a - sum_b) <= mass_tolerance * fmax(sum_a, sum_b)) ||
      !(x.mass < unlimited && sum_b / unit < unlimited))
    return Input::bad;
  x.b_scale = sum_a / sum_b;

  if (equal) {
    // Small integers keep every tie of the uniform problem.
    for (Node v = team.rank(); v < x.nodes(); v += team.size())
      weights[v] = static_cast<double>(v < x.n ? x.m : x.n);
    team.sync();
    return Input::good;
  }
  // Equal given weights shall stay equal: a ratio at the level of rounding is none.
  const double nodes = static_cast<double>(x.nodes());
  const double ratio =
      fabs(x.b_scale - 1) <= nodes * std::numeric_limits<double>::epsilon() ? 1 : x.b_scale;
  frexp(fmax(sum_a, sum_b), &magnitude);
  const double integers = ldexp(1.0, 51 - magnitude);
  double excess = 0;
  for (Node v = team.rank(); v < x.nodes(); v += team.size()) {
    const double weight = static_cast<double>(v < x.n ? a[v] : b[v - x.n]) * unit * integers;
    weights[v] = rint(v < x.n ? weight : weight * ratio);
    excess += v < x.n ? weights[v] : -weights[v];
  }
  excess = block.reduce(excess, Sum{});
  team.sync();
  // What rounding has left over is nothing to the largest weight of the smaller side.
  const Node first = excess > 0 ? x.n : 0, last = excess > 0 ? x.nodes() : x.n;
  double top = 0;
  for (Node v = first + team.rank(); v < last; v += team.size()) top = fmax(top, weights[v]);
  top = block.reduce(top, Max{});
  std::uint64_t key = no_key;
  for (Node v = first + team.rank(); v < last; v += team.size())
    if (weights[v] == top && key == no_key) key = static_cast<unsigned>(v);
  key = block.least(key);
  team.sync();
  if (team.rank() == 0) weights[index_of(key)] = top + fabs(excess);
  team.sync();
  x.rounding = nodes;
  return Input::good;
}

// Finds the range of the working points' costs, and their unit. False if a cost, of whatever point, is not finite.
template <class Team, class T, class IsWorking>
KANTORCH_DEVICE bool set_scale(Block<Team>& block, Instance<T>& x, const IsWorking& is_working) {
  Team& team = block.team;
  bool bad = false;
  double low = unlimited, high = -unlimited;
  for (Node i = team.warp(); i < x.n; i += team.warps()) {
    const bool works = is_working(i);
    for (Node j = team.lane(); j < x.m; j += warp_size) {
      const double cost = x.given(i, j);
      bad |= !std::isfinite(cost);
      if (!works || !is_working(x.n + j)) continue;
      low = fmin(low, cost);
      high = fmax(high, cost);
    }
  }
  if (block.reduce.any(bad)) return false;
  x.lowest = fmin(block.reduce(low, Min{}), x.level);
  x.highest = fmin(block.reduce(high, Max{}), x.level);
  const double half_span = x.highest / 2 - x.lowest / 2;
  x.exponent = 0;
  if (half_span > 0) {
    frexp(half_span, &x.exponent);
    x.exponent = x.exponent + 1 < -1022 ? -1022 : x.exponent + 1 > 1023 ? 1023 : x.exponent + 1;
  }
  x.scale = ldexp(1.0, -x.exponent);
  x.base = x.lowest * x.scale;
  return true;
}

}  // namespace kantorch::cuda::network
