// What kernels may use of the machine that they run on.
//
// A kernel is a template over Team, the lanes of one block:
//   template <class Team> KANTORCH_DEVICE void kernel(Team& team, const Parameters& parameters);
// DeviceTeam (team_device.cuh) runs it on a GPU. HostTeam (team_host.hpp) runs the same source on the CPU, every lane
// a fiber, where sanitizers see races, barriers that not all lanes reach, and memory that is not a kernel's.
//
//   int rank(), size()            this lane in its block, and the block's lanes, a multiple of 32
//   int lane(), warp(), warps()   in its warp; which warp; how many
//   Index block(), blocks()
//   void sync()                   all lanes of the block wait for each other and see what each has written
//   void sync_warp()              the same in a warp
//   T shuffle(T x, int from)      the x of another lane of the warp; T is a number of at most 8 bytes
//   T shuffle_xor(T x, int mask)  the x of lane() ^ mask
//   unsigned ballot(bool)         bit k is what lane k says
//   unsigned min_warp(unsigned)
//   T* shared<T>(Index count)     memory of the block; all lanes ask for the same pieces in the same order
//   float exp2(float)             to about 2 units in the last place; results below 2^-126 may be 0
//
// sync counts for memory and control; shuffle, ballot and min_warp order no memory. All lanes of a block or warp
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
  Index blocks = 1;
  int threads = warp_size;  // of a block, a multiple of warp_size
  Index shared_bytes = 0;   // of a block
};

}  // namespace kantorch::cuda
