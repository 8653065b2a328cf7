// What the lanes of a block find out together.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/ordered.hpp"
#include "common/wide.hpp"
#include "cuda/runtime/team_reduce.hpp"

namespace kantorch::cuda::network {

constexpr std::uint64_t no_key = ~std::uint64_t{0};

// Keys in the order of about their values, then of indices.
KANTORCH_DEVICE std::uint64_t key_of(double value, int index) {
  return static_cast<std::uint64_t>(ordered(static_cast<float>(value))) << 32 |
         static_cast<unsigned>(index);
}
KANTORCH_DEVICE int index_of(std::uint64_t key) {
  return static_cast<int>(static_cast<unsigned>(key));
}

// Doubles that are not negative are ordered as their bits are.
KANTORCH_DEVICE std::uint64_t bits_of(double x) {
  std::uint64_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
KANTORCH_DEVICE double of_bits(std::uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

template <class Team>
class Block {
 public:
  static constexpr int most_warps = TeamReduce<Team>::most_warps;

  KANTORCH_DEVICE explicit Block(Team& team_)
      : team(team_),
        reduce(team_),
        keys_(team_.template shared<std::uint64_t>(2 * most_warps)),
        parts_(team_.template shared<double>(4 * most_warps)) {}
  static KANTORCH_BOTH constexpr Index bytes() {
    return TeamReduce<Team>::bytes() + shared_bytes<std::uint64_t>(2 * most_warps) +
           shared_bytes<double>(4 * most_warps);
  }

  KANTORCH_DEVICE std::uint64_t least_of_warp(std::uint64_t key) {
    const auto high = static_cast<unsigned>(key >> 32);
    const unsigned top = team.min_warp(high);
    const unsigned rest = team.min_warp(high == top ? static_cast<unsigned>(key) : ~0u);
    return static_cast<std::uint64_t>(top) << 32 | rest;
  }

  // The least of the lanes' keys. Like the next one it orders no memory, and takes its own in turns.
  KANTORCH_DEVICE std::uint64_t least(std::uint64_t key) {
    key = least_of_warp(key);
    if (team.warps() == 1) return key;
    turn_ ^= 1;
    std::uint64_t* const keys = keys_ + turn_ * most_warps;
    if (team.lane() == 0) keys[team.warp()] = key;
    team.sync();
    key = keys[0];
    for (int warp = 1; warp < team.warps(); ++warp) key = Min{}(key, keys[warp]);
    return key;
  }

  // The sum to 32 digits, as a double.
  KANTORCH_DEVICE double total(Wide x) {
    for (int mask = 1; mask < warp_size; mask *= 2)
      x = x.plus({team.shuffle_xor(x.high, mask), team.shuffle_xor(x.low, mask)});
    if (team.warps() > 1) {
      turn_ ^= 1;
      double* const parts = parts_ + turn_ * 2 * most_warps;
      if (team.lane() == 0) {
        parts[2 * team.warp()] = x.high;
        parts[2 * team.warp() + 1] = x.low;
      }
      team.sync();
      x = {parts[0], parts[1]};
      for (int warp = 1; warp < team.warps(); ++warp)
        x = x.plus({parts[2 * warp], parts[2 * warp + 1]});
    }
    return x.high;
  }

  Team& team;
  TeamReduce<Team> reduce;

 private:
  std::uint64_t* keys_;
  double* parts_;
  int turn_ = 0;
};

}  // namespace kantorch::cuda::network
