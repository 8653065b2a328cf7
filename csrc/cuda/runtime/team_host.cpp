#include "cuda/runtime/team_host.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cuda/runtime/fiber.hpp"

namespace kantorch::cuda {
namespace {

enum class Call { sync, sync_block, sync_warp, shuffle, ballot, min_warp };

const char* name(Call call) {
  constexpr const char* names[] = {"sync",    "sync_block", "sync_warp",
                                   "shuffle", "ballot",     "min_warp"};
  return names[static_cast<int>(call)];
}

// Lanes that wait for each other, a team, a block or a warp.
struct Meeting {
  int first = 0;  // of its lanes
  int count = 0;
  int arrived = 0;
  Call call{};
  Site site{};
  // What its lanes order memory by, in turns: with one tag for all, what a fast lane does after a barrier would be
  // ordered before what a slow one does after the same.
  char tags[2] = {};
  int turn = 0;
};

enum class State { ready, waiting, ended };

struct Lane {
  int rank;
  Fiber fiber;
  State state = State::ready;
  Call call{};  // that it waits in
  Site site{};
  std::uint64_t bits = 0;  // what it brings to the meeting and takes from it
  int from = 0;
};

constexpr Index red_zone = 64;
constexpr Index most_pieces = 64;

// Without memset, which ThreadSanitizer would watch.
void fill_with_nan(void* memory, Index bytes) {
  auto* const words = static_cast<volatile std::uint64_t*>(memory);
  for (Index k = 0; k < bytes / 8; ++k) words[k] = ~std::uint64_t{0};
}

}  // namespace

// One team at a time.
class HostRun {
 public:
  HostRun(const Grid& grid, const Schedule& schedule, LaneBody body, void* context)
      : grid_(grid), schedule_(schedule), body_(body), context_(context), random_(schedule.seed) {
    if (grid.threads < warp_size || grid.threads % warp_size != 0)
      throw TeamFault("a block must have a multiple of 32 lanes, got " +
                      std::to_string(grid.threads));
    if (grid.width < 1 || grid.blocks % grid.width != 0)
      throw TeamFault(std::to_string(grid.blocks) + " blocks are no teams of " +
                      std::to_string(grid.width));
  }

  void run() {
    const Index teams = grid_.blocks / grid_.width;
    for (Index k = 0; k < teams && fault_.empty(); ++k)
      run_team(schedule_.order == Order::descending ? teams - 1 - k : k);
    // Not between teams, which are no more ordered than lanes. Every lane released it whenever it stopped.
    acquire(this);
    if (!fault_.empty()) throw TeamFault(fault_);
  }

  std::uint64_t meet(const HostTeam& team, Call call, Site site, std::uint64_t bits, int from) {
    Lane& self = *lanes_[team.rank_];
    const bool orders = call == Call::sync || call == Call::sync_block || call == Call::sync_warp;
    Meeting& meeting = meeting_of(team, call);
    void* const tag = &meeting.tags[meeting.turn];
    if (orders) release(tag);
    self.call = call;
    self.site = site;
    self.bits = bits;
    self.from = from;
    self.state = State::waiting;
    if (meeting.arrived == 0) {
      meeting.call = call;
      meeting.site = site;
    } else if (meeting.call != call || meeting.site.line != site.line ||
               std::strcmp(meeting.site.file, site.file) != 0) {
      fail();
    }
    if (++meeting.arrived == meeting.count) finish(meeting);
    go_on(self);
    if (orders) acquire(tag);
    return self.bits;
  }

  void* take(HostTeam& team, Index padded_bytes, Index bytes) {
    if (team.taken_ + padded_bytes > grid_.shared_bytes || team.pieces_ == most_pieces) {
      too_much(team.taken_ + padded_bytes);
      leave();
    }
    char* const piece =
        shared_ + team.place() * block_bytes() + team.taken_ + team.pieces_ * red_zone;
    team.taken_ += padded_bytes;
    ++team.pieces_;
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(piece + bytes,
                                static_cast<std::size_t>(padded_bytes - bytes + red_zone));
#else
    static_cast<void>(bytes);
#endif
    return piece;
  }

 private:
  int size() const { return grid_.width * grid_.threads; }
  Index block_bytes() const { return padded(grid_.shared_bytes + most_pieces * red_zone, 16); }

  // The team's, then the blocks', then the warps'.
  Meeting& meeting_of(const HostTeam& team, Call call) {
    int k = 0;
    if (call == Call::sync_block) {
      k = 1 + team.place();
    } else if (call != Call::sync) {
      k = 1 + grid_.width + team.warp();
    }
    return meetings_[static_cast<std::size_t>(k)];
  }

  void add_meetings(int count) {
    for (int first = 0; first < size(); first += count) {
      Meeting meeting;
      meeting.first = first;
      meeting.count = count;
      meetings_.push_back(meeting);
    }
  }

  void run_team(Index team) {
    const Pages shared(static_cast<std::size_t>(grid_.width * block_bytes()));
    const Pages stacks(static_cast<std::size_t>(size()) * Fiber::stack_size);
    fill_with_nan(shared.get(), grid_.width * block_bytes());
    shared_ = shared.get();
    team_ = team;
    meetings_.clear();
    add_meetings(size());
    add_meetings(grid_.threads);
    add_meetings(warp_size);
    std::vector<std::unique_ptr<Lane>> lanes;
    lanes_.clear();
    for (int rank = 0; rank < size(); ++rank) {
      char* const stack = stacks.get() + static_cast<std::size_t>(rank) * Fiber::stack_size;
      lanes.emplace_back(new Lane{rank, {stack, &HostRun::enter}});
      lanes_.push_back(lanes.back().get());
    }
    left_ = size();
    Fiber caller;
    caller_ = &caller;
    HostRun* const outer = current;
    current = this;
    running_ = schedule_.order == Order::descending ? size() : -1;
    running_ = next();
    caller.switch_to(lanes_[running_]->fiber);
    current = outer;
  }

  static void enter() {
    HostRun& run = *current;
    Lane& self = *run.lanes_[run.running_];
    self.fiber.arrived(run.caller_);
    HostTeam team(&run, &run.grid_, self.rank, run.team_ * run.grid_.width);
    run.body_(team, run.context_);
    self.state = State::ended;
    if (--run.left_ == 0) run.leave();
    run.go_on(self);
  }

  // The next lane that is ready, from the running one on; -1: none.
  int next() {
    const int size = this->size();
    const int step = schedule_.order == Order::descending ? size - 1 : 1;
    int at = running_ + step;
    if (schedule_.order == Order::random) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's
      at = static_cast<int>((random_ >> 33) % static_cast<unsigned>(size));
    }
    for (int tried = 0; tried < size; ++tried, at += step) {
      if (lanes_[at % size]->state == State::ready) return at % size;
    }
    return -1;
  }

  void go_on(Lane& self) {
    const int lane = next();
    if (lane < 0) fail();
    running_ = lane;
    release(this);
    if (lanes_[lane] != &self) self.fiber.switch_to(lanes_[lane]->fiber);
  }

  void finish(Meeting& meeting) {
    Lane* const* const lanes = lanes_.data() + meeting.first;
    std::uint64_t result[warp_size] = {};
    if (meeting.call == Call::shuffle) {
      for (int k = 0; k < warp_size; ++k) {
        if (lanes[k]->from < 0 || lanes[k]->from >= warp_size) fail();
        result[k] = lanes[lanes[k]->from]->bits;
      }
    } else if (meeting.call == Call::ballot) {
      for (int k = 0; k < warp_size; ++k) result[0] |= lanes[k]->bits << k;
      std::fill_n(result, warp_size, result[0]);
    } else if (meeting.call == Call::min_warp) {
      result[0] = lanes[0]->bits;
      for (int k = 1; k < warp_size; ++k) result[0] = std::min(result[0], lanes[k]->bits);
      std::fill_n(result, warp_size, result[0]);
    }
    for (int k = 0; k < meeting.count; ++k) {
      lanes[k]->bits = meeting.count == warp_size ? result[k] : 0;
      lanes[k]->state = State::ready;
    }
    meeting.arrived = 0;
    meeting.turn ^= 1;
  }

  [[noreturn]] void fail() {
    fault_ = whereabouts();
    leave();
  }

  // Where the lanes are, those of a kind together.
  std::string whereabouts() const {
    std::string all = "divergent barrier in team " + std::to_string(team_) + ":";
    std::string last;
    for (const Lane* lane : lanes_) {
      std::string where = " is running";
      if (lane->state == State::ended) where = " has ended";
      if (lane->state == State::waiting) {
        where = std::string(" waits in ") + name(lane->call) + " at " + lane->site.file + ":" +
                std::to_string(lane->site.line);
        if (lane->call == Call::shuffle) where += " for lane " + std::to_string(lane->from);
      }
      if (where == last) continue;
      all += "\n  from lane " + std::to_string(lane->rank) + " on:" + where;
      last = where;
    }
    return all;
  }

  void too_much(Index bytes) {
    fault_ = "shared memory: " + std::to_string(bytes) + " bytes are taken, " +
             std::to_string(grid_.shared_bytes) + " were announced";
  }

  // Back to the caller, for good: kernels own nothing, so their stacks may be dropped as they are.
  [[noreturn]] void leave() {
    release(this);
    lanes_[running_]->fiber.switch_to(*caller_);
    std::abort();
  }

  static thread_local HostRun* current;

  const Grid grid_;
  const Schedule schedule_;
  const LaneBody body_;
  void* const context_;
  std::uint64_t random_;
  Index team_ = 0;
  char* shared_ = nullptr;
  std::vector<Meeting> meetings_;
  std::vector<Lane*> lanes_;
  int running_ = 0;
  int left_ = 0;
  Fiber* caller_ = nullptr;
  std::string fault_;
};

thread_local HostRun* HostRun::current = nullptr;

void HostTeam::sync(Site site) { run_->meet(*this, Call::sync, site, 0, 0); }

void HostTeam::sync_block(Site site) { run_->meet(*this, Call::sync_block, site, 0, 0); }

void HostTeam::sync_warp(Site site) { run_->meet(*this, Call::sync_warp, site, 0, 0); }

unsigned HostTeam::ballot(bool x, Site site) {
  return static_cast<unsigned>(run_->meet(*this, Call::ballot, site, x ? 1 : 0, 0));
}

unsigned HostTeam::min_warp(unsigned x, Site site) {
  return static_cast<unsigned>(run_->meet(*this, Call::min_warp, site, x, 0));
}

std::uint64_t HostTeam::exchange(std::uint64_t bits, int from, Site site) {
  return run_->meet(*this, Call::shuffle, site, bits, from);
}

void* HostTeam::take(Index padded_bytes, Index bytes) {
  return run_->take(*this, padded_bytes, bytes);
}

Schedule& host_schedule() {
  static Schedule schedule = [] {
    const char* const given = std::getenv("KANTORCH_EMULATION_ORDER");
    const std::string order = given == nullptr ? "ascending" : given;
    if (order == "ascending") return Schedule{Order::ascending};
    if (order == "descending") return Schedule{Order::descending};
    return Schedule{Order::random, std::stoull(order)};
  }();
  return schedule;
}

void run_on_host(const Grid& grid, const Schedule& schedule, LaneBody body, void* context) {
  HostRun(grid, schedule, body, context).run();
}

}  // namespace kantorch::cuda
