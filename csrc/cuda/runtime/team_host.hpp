// Team on the CPU, to test kernels: every lane is a fiber, all fibers of a launch run on the calling thread, team after
// team, and a schedule says in which order.
//
// - Lanes that wait for each other in different places, or for one that has ended, are a TeamFault.
// - Under ThreadSanitizer a switch between lanes orders nothing, only sync, sync_block and sync_warp do: two lanes, of one
//   block or of two, that touch the same memory without a barrier between them are a race, whatever the schedule.
// - Shared memory starts as NaN, and ends of its pieces are watched by AddressSanitizer.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

// A kernel broke a rule of Team; what() says which lanes were where.
class TeamFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Which of the lanes that may go on does: the next one up, the next one down, any.
enum class Order { ascending, descending, random };

struct Schedule {
  Order order = Order::ascending;
  std::uint64_t seed = 0;
};

// That of launches that are not told any; first as the environment says, KANTORCH_EMULATION_ORDER = ascending,
// descending, or the seed of a random one.
Schedule& host_schedule();

// A place in a kernel's source.
struct Site {
  const char* file;
  int line;

  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

class HostRun;

class HostTeam {
 public:
  int rank() const { return rank_; }
  int size() const { return block_size() * width(); }
  int lane() const { return rank_ % warp_size; }
  int warp() const { return rank_ / warp_size; }
  int warps() const { return size() / warp_size; }
  int width() const { return grid_->width; }
  int place() const { return rank_ / block_size(); }
  int block_rank() const { return rank_ % block_size(); }
  int block_size() const { return grid_->threads; }
  int block_warp() const { return block_rank() / warp_size; }
  int block_warps() const { return block_size() / warp_size; }
  Index block() const { return first_block_ + place(); }
  Index blocks() const { return grid_->blocks; }
  double* parts(int turn) const {
    return parts_of(grid_->memory, width(), first_block_ / width(), turn);
  }

  void sync(Site site = Site::here());
  void sync_block(Site site = Site::here());
  void sync_warp(Site site = Site::here());

  template <class T>
  T shuffle(T x, int from, Site site = Site::here()) {
    return of_bits<T>(exchange(to_bits(x), from, site));
  }
  template <class T>
  T shuffle_xor(T x, int mask, Site site = Site::here()) {
    return of_bits<T>(exchange(to_bits(x), lane() ^ mask, site));
  }
  unsigned ballot(bool x, Site site = Site::here());
  unsigned min_warp(unsigned x, Site site = Site::here());

  template <class T>
  T* shared(Index count) {
    return static_cast<T*>(take(shared_bytes<T>(count), count * static_cast<Index>(sizeof(T))));
  }

  float exp2(float x) const { return std::exp2(x); }

 private:
  friend class HostRun;

  HostTeam(HostRun* run, const Grid* grid, int rank, Index first_block)
      : run_(run), grid_(grid), rank_(rank), first_block_(first_block) {}

  template <class T>
  static std::uint64_t to_bits(T x) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &x, sizeof(T));
    return bits;
  }
  template <class T>
  static T of_bits(std::uint64_t bits) {
    T x;
    std::memcpy(&x, &bits, sizeof(T));
    return x;
  }

  std::uint64_t exchange(std::uint64_t bits, int from, Site site);
  void* take(Index padded_bytes, Index bytes);

  HostRun* run_;
  const Grid* grid_;
  int rank_;           // in the team
  Index first_block_;  // of the team
  Index taken_ = 0;    // of the shared memory
  Index pieces_ = 0;
};

// What a lane runs.
using LaneBody = void (*)(HostTeam& team, void* context);

void run_on_host(const Grid& grid, const Schedule& schedule, LaneBody body, void* context);

// Runs kernel(team) in every lane of a grid.
template <class Kernel>
void run_on_host(const Grid& grid, const Schedule& schedule, const Kernel& kernel) {
  run_on_host(
      grid, schedule,
      [](HostTeam& team, void* context) { (*static_cast<const Kernel*>(context))(team); },
      const_cast<Kernel*>(&kernel));
}

}  // namespace kantorch::cuda
