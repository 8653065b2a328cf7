#include <doctest/doctest.h>

#include <vector>

#include "cuda/runtime/collective.hpp"
#include "cuda/runtime/team_host.hpp"
#include "cuda/schedules.hpp"

using namespace kantorch::cuda;

namespace {

// Numbers whose sums are exact, so that any order gives the same.
int number(int lane, int k) { return (lane * 37 + k * 11) % 101 - 50; }

template <int N, int Lanes, int Stride>
void check_scatter_and_gather(const Schedule& schedule) {
  std::vector<int> found(warp_size * N), back(warp_size * N);
  run_on_host({1, warp_size, 0}, schedule, [&](HostTeam& team) {
    const int lane = team.lane();
    int x[N];
    for (int k = 0; k < N; ++k) x[k] = number(lane, k);
    reduce_scatter<N, Lanes, Stride>(team, x, Sum{});
    const int first = first_of<N, Lanes, Stride>(lane);
    for (int k = 0; k < N / Lanes; ++k)
      found[static_cast<std::size_t>(lane * N + first + k)] = x[k];
    gather<N, Lanes, Stride>(team, x);
    for (int k = 0; k < N; ++k) back[static_cast<std::size_t>(lane * N + k)] = x[k];
  });
  for (int lane = 0; lane < warp_size; ++lane) {
    const int position = lane / Stride % Lanes;
    for (int k = 0; k < N; ++k) {
      int want = 0;
      for (int p = 0; p < Lanes; ++p) want += number(lane + (p - position) * Stride, k);
      REQUIRE(back[static_cast<std::size_t>(lane * N + k)] == want);
      if (k / (N / Lanes) == position)
        REQUIRE(found[static_cast<std::size_t>(lane * N + k)] == want);
    }
  }
}

}  // namespace

TEST_CASE("sums that are scattered over lanes, and gathered again, are the sums of all lanes") {
  for (const Schedule& schedule : schedules) {
    check_scatter_and_gather<8, 4, 1>(schedule);
    check_scatter_and_gather<16, 8, 4>(schedule);
    check_scatter_and_gather<4, 4, 8>(schedule);
    check_scatter_and_gather<2, 2, 16>(schedule);
    check_scatter_and_gather<3, 1, 1>(schedule);
  }
}

TEST_CASE("a block's sum, minimum and maximum are the same in every lane") {
  for (const Schedule& schedule : schedules) {
    for (const int threads : {32, 96}) {
      std::vector<double> out(static_cast<std::size_t>(3 * threads));
      run_on_host({1, threads, 3 * shared_bytes<double>(3)}, schedule, [&](HostTeam& team) {
        const double x = number(team.rank(), 5) / 64.0;
        double* const to = out.data() + 3 * team.rank();
        to[0] = reduce_block(team, x, Sum{}, team.shared<double>(team.warps()));
        to[1] = reduce_block(team, x, Min{}, team.shared<double>(team.warps()));
        to[2] = reduce_block(team, x, Max{}, team.shared<double>(team.warps()));
      });
      double sum = 0, low = 1e9, high = -1e9;
      for (int rank = 0; rank < threads; ++rank) {
        const double x = number(rank, 5) / 64.0;
        sum += x;
        low = x < low ? x : low;
        high = x > high ? x : high;
      }
      for (std::size_t rank = 0; rank < static_cast<std::size_t>(threads); ++rank) {
        REQUIRE(out[3 * rank] == sum);
        REQUIRE(out[3 * rank + 1] == low);
        REQUIRE(out[3 * rank + 2] == high);
      }
    }
  }
}

TEST_CASE("words of a warp: the least, and who says yes") {
  for (const Schedule& schedule : schedules) {
    unsigned least[warp_size] = {}, yes[warp_size] = {};
    run_on_host({1, warp_size, 0}, schedule, [&](HostTeam& team) {
      const auto x = static_cast<unsigned>(number(team.lane(), 0) + 100);
      least[team.lane()] = team.min_warp(x);
      yes[team.lane()] = team.ballot(x % 3 == 0);
    });
    unsigned want_least = ~0u, want_yes = 0;
    for (int lane = 0; lane < warp_size; ++lane) {
      const auto x = static_cast<unsigned>(number(lane, 0) + 100);
      want_least = x < want_least ? x : want_least;
      want_yes |= static_cast<unsigned>(x % 3 == 0) << lane;
    }
    for (int lane = 0; lane < warp_size; ++lane) {
      CHECK(least[lane] == want_least);
      CHECK(yes[lane] == want_yes);
    }
  }
}
