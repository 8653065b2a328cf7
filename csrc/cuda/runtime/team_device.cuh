// Team on a GPU. The only file with inline PTX.
#pragma once

#include "cuda/runtime/team.hpp"

namespace kantorch::cuda {

extern __shared__ __align__(shared_alignment) char block_memory[];

class DeviceTeam {
 public:
  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ int lane() const { return rank() % warp_size; }
  __device__ int warp() const { return rank() / warp_size; }
  __device__ int warps() const { return size() / warp_size; }
  __device__ Index block() const { return blockIdx.x; }
  __device__ Index blocks() const { return gridDim.x; }

  __device__ void sync() const { __syncthreads(); }
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
