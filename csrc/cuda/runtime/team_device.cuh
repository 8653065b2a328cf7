// Team on a GPU. The only file with inline PTX.
#pragma once

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

extern __shared__ __align__(shared_alignment) char block_memory[];

// What a lane has of its team, where that is one block.
class OneBlock {
 public:
  __device__ constexpr int width() const { return 1; }
  __device__ constexpr int place() const { return 0; }
  __device__ constexpr double* parts(int) const { return nullptr; }

 protected:
  __device__ void wait() { __syncthreads(); }
};

// The same of one or several, which all run at the same time.
class SeveralBlocks {
 public:
  __device__ SeveralBlocks(int width, char* memory) : width_(width), memory_(memory) {}

  __device__ int width() const { return width_; }
  __device__ int place() const { return static_cast<int>(blockIdx.x % width_); }
  __device__ double* parts(int turn) const {
    return parts_of(memory_, width_, blockIdx.x / width_, turn);
  }

 protected:
  // A count that only grows: the barrier is passed when every block has come as often as this one. What lanes of a
  // block wrote before the first __syncthreads is made visible by the fence of the lane that speaks for them.
  __device__ void wait() {
    __syncthreads();
    if (width_ == 1) return;
    if (threadIdx.x == 0) {
      using Count = unsigned long long;
      auto* const count =
          reinterpret_cast<Count*>(memory_ + blockIdx.x / width_ * team_bytes(width_));
      goal_ += width_;
      __threadfence();
      atomicAdd(count, Count{1});
      while (*const_cast<volatile Count*>(count) < goal_) {
      }
      __threadfence();
    }
    __syncthreads();
  }

 private:
  const int width_;
  char* const memory_;
  unsigned long long goal_ = 0;
};

template <class Blocks>
class DeviceTeam : public Blocks {
 public:
  using Blocks::Blocks;

  __device__ int rank() const { return this->place() * block_size() + block_rank(); }
  __device__ int size() const { return this->width() * block_size(); }
  __device__ int lane() const { return block_rank() % warp_size; }
  __device__ int warp() const { return rank() / warp_size; }
  __device__ int warps() const { return size() / warp_size; }
  __device__ int block_rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int block_size() const { return static_cast<int>(blockDim.x); }
  __device__ int block_warp() const { return block_rank() / warp_size; }
  __device__ int block_warps() const { return block_size() / warp_size; }
  __device__ Index block() const { return blockIdx.x; }
  __device__ Index blocks() const { return gridDim.x; }

  __device__ void sync() { this->wait(); }
  __device__ void sync_block() const { __syncthreads(); }
  __device__ void sync_warp() const { __syncwarp(); }

  template <class T>
  __device__ T shuffle(T x, int from) const {
    return __shfl_sync(all_lanes, x, from);
  }
  template <class T>
  __device__ T shuffle_xor(T x, int mask) const {
    return __shfl_xor_sync(all_lanes, x, mask);
  }
  __device__ unsigned ballot(bool x) const { return __ballot_sync(all_lanes, x); }
  __device__ unsigned min_warp(unsigned x) const { return __reduce_min_sync(all_lanes, x); }

  template <class T>
  __device__ T* shared(Index count) {
    T* const piece = reinterpret_cast<T*>(block_memory + taken_);
    taken_ += shared_bytes<T>(count);
    return piece;
  }

  // Not exp2f: that scales its argument to save subnormal results, three instructions more.
  __device__ float exp2(float x) const {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
  }

 private:
  static constexpr unsigned all_lanes = 0xffffffff;
  Index taken_ = 0;
};

}  // namespace kantorch::cuda
