// What kernels may use of the machine that they run on.
//
// A kernel is a template over Team, the lanes that work together: those of one block, or of several (Grid::width).
//   template <class Team> KANTORCH_DEVICE void kernel(Team& team, const Parameters& parameters);
// DeviceTeam (team_device.cuh) runs it on a GPU. HostTeam (team_host.hpp) runs the same source on the CPU, every lane
// a fiber, where sanitizers see races, barriers that not all lanes reach, and memory that is not a kernel's.
//
//   int rank(), size()            this lane in its team, and the team's lanes, a multiple of 32
//   int lane(), warp(), warps()   in its warp; which warp of the team; how many
//   int width(), place()          blocks of the team, and this one's place among them
//   int block_rank(), block_size(), block_warp(), block_warps()   in the block
//   Index block(), blocks()       of the launch
//   void sync()                   all lanes of the team wait for each other and see what each has written
//   void sync_block()             the same in a block
//   void sync_warp()              the same in a warp
//   T shuffle(T x, int from)      the x of another lane of the warp; T is a number of at most 8 bytes
//   T shuffle_xor(T x, int mask)  the x of lane() ^ mask
//   unsigned ballot(bool)         bit k is what lane k says
//   unsigned min_warp(unsigned)
//   T* shared<T>(Index count)     memory of the block; all lanes ask for the same pieces in the same order
//   double* parts(int turn)       a number for each block of the team, where there are several; turn is 0 or 1
//   float exp2(float)             to about 2 units in the last place; results below 2^-126 may be 0
//
// sync and sync_block count for memory and control; shuffle, ballot and min_warp order no memory. All lanes of a team, block or warp
// make these calls together, from the same place. Everything else, sums and searches included, is ordinary code above
// (collective.hpp), so that it is tested on the host.
#pragma once

#include "common/host_device.hpp"
#include "core/view.hpp"

namespace kantorch::cuda {

constexpr int warp_size = 32;

// Pieces of shared memory start at multiples of it, for loads of 16 bytes.
constexpr Index shared_alignment = 16;

// The shared memory that a piece of `count` numbers takes; a kernel's launch adds up its pieces.
template <class T>
KANTORCH_BOTH constexpr Index shared_bytes(Index count) {
  return padded(count * static_cast<Index>(sizeof(T)), shared_alignment);
}

// What a kernel is launched with.
struct Grid {
  Index blocks = 1;         // a multiple of width
  int threads = warp_size;  // of a block, a multiple of warp_size
  Index shared_bytes = 0;   // of a block
  int width = 1;            // blocks of a team; those of several all run at the same time
  char* memory = nullptr;   // of team_bytes(width) for each team of several blocks, zero at first
};

// Teams of several blocks count those that have reached a barrier here, and leave their parts of sums.
constexpr Index count_bytes = 128;
KANTORCH_BOTH constexpr Index team_bytes(int width) {
  return width == 1 ? 0 : padded(count_bytes + 2 * width * static_cast<Index>(sizeof(double)), 128);
}
KANTORCH_BOTH double* parts_of(char* memory, int width, Index team, int turn) {
  return reinterpret_cast<double*>(memory + team * team_bytes(width) + count_bytes) + turn * width;
}

}  // namespace kantorch::cuda
