// The host's Team finds what it is there to find: each fault that is planted here is reported, and a correct kernel is
// silent. Without this nothing that runs on it would show anything.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/planted.hpp"
#include "cuda/runtime/collective.hpp"
#include "cuda/runtime/team_host.hpp"
#include "cuda/runtime/team_reduce.hpp"
#include "cuda/schedules.hpp"

using namespace kantorch::cuda;
using kantorch::Index;

#if defined(__SANITIZE_THREAD__)
constexpr bool threads_are_watched = true;
#else
constexpr bool threads_are_watched = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr bool addresses_are_watched = true;
#else
constexpr bool addresses_are_watched = false;
#endif

namespace {

constexpr int threads = 64;

// Each lane leaves a number for the one before it. `waits` says whether it then waits for the others, as it must.
template <class Team>
void pass_on(Team& team, double* out, bool waits) {
  auto* const box = team.template shared<double>(team.size());
  box[team.rank()] = team.rank();
  if (waits) team.sync();
  out[team.block() * team.size() + team.rank()] = box[(team.rank() + 1) % team.size()];
}

std::vector<double> passed_on(const Schedule& schedule, bool waits, Index blocks = 2) {
  std::vector<double> out(static_cast<std::size_t>(blocks * threads));
  run_on_host({blocks, threads, shared_bytes<double>(threads)}, schedule,
              [&](HostTeam& team) { pass_on(team, out.data(), waits); });
  return out;
}

// Teams of several blocks.
class TeamMemory {
 public:
  explicit TeamMemory(int width)
      : width_(width), memory_(static_cast<std::size_t>(2 * team_bytes(width))) {}

  Grid grid(Index teams) {
    return {teams * width_, threads, TeamReduce<HostTeam>::bytes(), width_, memory_.data()};
  }

 private:
  int width_;
  std::vector<char> memory_;
};

// What the lanes of the next block of the same team have left, after `wait`.
template <class Wait>
std::vector<double> numbers_of_next_block(const Schedule& schedule, const Wait& wait) {
  constexpr int width = 3, teams = 2;
  TeamMemory memory(width);
  std::vector<double> box(teams * width * threads, -1), out = box;
  run_on_host(memory.grid(teams), schedule, [&](HostTeam& team) {
    double* const mine = box.data() + team.block() / width * team.size();
    mine[team.rank()] = team.rank();
    wait(team);
    out[static_cast<std::size_t>(team.block() * threads + team.block_rank())] =
        mine[(team.rank() + threads) % team.size()];
  });
  return out;
}

std::string fault_of(const Schedule& schedule, void (*kernel)(HostTeam&)) {
  try {
    run_on_host({1, threads, 64}, schedule, kernel);
  } catch (const TeamFault& fault) {
    return fault.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a correct kernel has one answer and is silent, whatever the schedule") {
  for (const Schedule& schedule : schedules) {
    const std::vector<double> out = passed_on(schedule, true);
    for (int k = 0; k < 2 * threads; ++k)
      REQUIRE(out[static_cast<std::size_t>(k)] == (k + 1) % threads);
  }
}

TEST_CASE("the blocks of a team see what each has written before their barrier") {
  for (const Schedule& schedule : schedules) {
    const std::vector<double> out =
        numbers_of_next_block(schedule, [](HostTeam& team) { team.sync(); });
    for (int k = 0; k < 2 * 3 * threads; ++k)
      REQUIRE(out[static_cast<std::size_t>(k)] == (k + threads) % (3 * threads));
  }
}

TEST_CASE("a sum over a team is that of all lanes of all its blocks, of no other team") {
  for (const Schedule& schedule : schedules) {
    for (const int width : {2, 3, 34}) {
      if (width > 3 && schedule.order != Order::descending) continue;  // takes long
      TeamMemory memory(width);
      std::vector<int> right(static_cast<std::size_t>(2 * width * threads), 0);
      run_on_host(memory.grid(2), schedule, [&](HostTeam& team) {
        TeamReduce<HostTeam> reduce(team);
        const double lanes = team.size(), number = static_cast<double>(team.block() / width);
        int& mine = right[static_cast<std::size_t>(team.block() * threads + team.block_rank())];
        for (int turn = 0; turn < 5; ++turn) {
          const bool sum =
              reduce(team.rank() + number, Sum{}) == lanes * ((lanes - 1) / 2 + number);
          const bool high = reduce(team.rank() + number, Max{}) == lanes - 1 + number;
          const bool low = reduce(team.rank() + number, Min{}) == number;
          mine += sum && high && low ? 1 : 0;
        }
      });
      for (const int count : right) REQUIRE(count == 5);
    }
  }
}

TEST_CASE("a missing barrier reads what is not there yet") {
  if (threads_are_watched) return;  // which ends at the race
  const std::vector<double> up = passed_on({Order::ascending}, false);
  CHECK(std::isnan(up[0]));
  const std::vector<double> down = passed_on({Order::descending}, false);
  CHECK(std::isnan(down[threads - 1]));
}

TEST_CASE("planted: a missing barrier" * doctest::skip()) {
  // Here the order of the lanes hides it: every box is read after it was filled, but one, which is not looked at.
  passed_on({Order::descending}, false);
}

TEST_CASE("planted: two lanes write one word" * doctest::skip()) {
  run_on_host({1, threads, 64}, {}, [](HostTeam& team) {
    auto* const word = team.shared<double>(1);
    if (team.rank() % 40 == 0) *word = 1;
  });
}

TEST_CASE("planted: two blocks write one word" * doctest::skip()) {
  double word = 0;
  run_on_host({2, warp_size, 0}, {}, [&](HostTeam& team) {
    if (team.rank() == 3 * team.block()) word = 1;
  });
}

TEST_CASE("planted: a shuffle taken for a barrier" * doctest::skip()) {
  run_on_host({1, warp_size, 256}, {}, [](HostTeam& team) {
    auto* const box = team.shared<double>(warp_size);
    box[team.rank()] = 1;
    const int other = team.shuffle_xor(team.rank(), 1);
    CHECK(box[other] == 1);
  });
}

TEST_CASE("planted: the barrier of a block taken for that of a team" * doctest::skip()) {
  numbers_of_next_block({}, [](HostTeam& team) { team.sync_block(); });
}

TEST_CASE("planted: a correct kernel" * doctest::skip()) {
  for (const Schedule& schedule : schedules) {
    passed_on(schedule, true);
    numbers_of_next_block(schedule, [](HostTeam& team) { team.sync(); });
  }
}

TEST_CASE("planted: a write behind shared memory" * doctest::skip()) {
  run_on_host({1, warp_size, 64}, {}, [](HostTeam& team) {
    auto* const words = team.shared<double>(5);
    if (team.rank() == 7) words[5] = 1;
  });
}

TEST_CASE("ThreadSanitizer reports planted races and nothing else") {
  if (!threads_are_watched) return;
  for (const char* test_case :
       {"planted: a missing barrier", "planted: two lanes write one word",
        "planted: two blocks write one word", "planted: a shuffle taken for a barrier",
        "planted: the barrier of a block taken for that of a team"}) {
    CAPTURE(test_case);
    const Report report = run_planted(test_case);
    CHECK_MESSAGE(contains(report.text, "WARNING: ThreadSanitizer: data race"), report.text);
    CHECK(!report.passed);
  }
  const Report report = run_planted("planted: a correct kernel");
  CHECK_MESSAGE(report.passed, report.text);
}

TEST_CASE("AddressSanitizer reports a planted write behind shared memory") {
  if (!addresses_are_watched) return;
  const Report report = run_planted("planted: a write behind shared memory");
  CHECK_MESSAGE(contains(report.text, "ERROR: AddressSanitizer: use-after-poison"), report.text);
}

TEST_CASE("barriers that not all lanes reach are reported, with where the lanes are") {
  for (const Schedule& schedule : schedules) {
    // One lane goes another way.
    std::string fault = fault_of(schedule, [](HostTeam& team) {
      if (team.rank() == 37) {
        team.sync();
      } else {
        team.sync();
      }
    });
    CHECK_MESSAGE(contains(fault, "divergent barrier in team 0"), fault);
    CHECK_MESSAGE(contains(fault, "from lane 37 on: waits in sync at"), fault);
    // One lane ends.
    fault = fault_of(schedule, [](HostTeam& team) {
      if (team.rank() != 5) team.sync();
    });
    CHECK_MESSAGE(contains(fault, "from lane 5 on: has ended"), fault);
    // One lane waits for its warp while the others wait for the block.
    fault = fault_of(schedule, [](HostTeam& team) {
      if (team.rank() == 33) team.sync_warp();
      team.sync();
    });
    CHECK_MESSAGE(contains(fault, "from lane 33 on: waits in sync_warp at"), fault);
    // Lanes of a warp exchange numbers in a loop of different lengths.
    fault = fault_of(schedule, [](HostTeam& team) {
      for (int k = 0; k < 2 + (team.rank() == 1); ++k) team.shuffle(k, 0);
    });
    CHECK_MESSAGE(contains(fault, "from lane 1 on: waits in shuffle"), fault);
    // One block of a team ends.
    TeamMemory memory(2);
    try {
      run_on_host(memory.grid(1), schedule, [](HostTeam& team) {
        if (team.place() == 0) team.sync();
      });
      fault = "";
    } catch (const TeamFault& thrown) {
      fault = thrown.what();
    }
    CHECK_MESSAGE(contains(fault, "from lane 64 on: has ended"), fault);
    // A lane that no warp has.
    fault = fault_of(schedule, [](HostTeam& team) { team.shuffle(1, 32); });
    CHECK_MESSAGE(contains(fault, "for lane 32"), fault);
  }
}

TEST_CASE("more shared memory than was announced is reported") {
  CHECK(contains(fault_of({}, [](HostTeam& team) { team.shared<double>(9); }),
                 "80 bytes are taken, 64 were announced"));
}

TEST_CASE("a fault leaves the next launch whole") {
  CHECK(!fault_of({}, [](HostTeam& team) {
           if (team.rank() != 5) team.sync();
         }).empty());
  CHECK(passed_on({}, true)[0] == 1);
}
