// Launches a kernel: an object with `threads`, bytes<Team>() of shared memory, and operator()(Team&).
//
// launch: a team is a block. launch_teams: it is `width` blocks, which wait for each other, so all blocks of the launch
// have to run at the same time; resident_blocks says how many can.
//
// Files that launch (*.cu) are compiled by nvcc for the device, or as C++ for the host's Team: only this differs.
#pragma once

#include "core/exec.hpp"
#include "cuda/runtime/team.hpp"

#ifdef __CUDACC__

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "cuda/runtime/team_device.cuh"

namespace kantorch::cuda {

inline void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  // Errors of kernels stay with the device until the process ends, whoever launched them.
  throw CudaError(std::string(what) + ": " + cudaGetErrorString(status) +
                  " (perhaps from an earlier kernel on this device)");
}

// The stream's device is current meanwhile, as the runtime demands.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    require(cudaGetDevice(&before_), "cudaGetDevice");
    if (device != before_) require(cudaSetDevice(device), "cudaSetDevice");
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  ~DeviceGuard() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads, 1)
    run_kernel(const __grid_constant__ Kernel kernel) {
  DeviceTeam<OneBlock> team;
  kernel(team);
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads, 1)
    run_kernel(const __grid_constant__ Kernel kernel, int width, char* memory) {
  DeviceTeam<SeveralBlocks> team(width, memory);
  kernel(team);
}

template <class Kernel>
constexpr Index shared_bytes_of = Kernel::template bytes<DeviceTeam<OneBlock>>();

// The driver loads a kernel when it is first used, which a stream that is being captured does not allow: so it is
// loaded before, outside of what is captured. More than 48 KB of shared memory have to be asked for.
template <class Kernel, class... Arguments>
void load(int device, void (*run)(Arguments...)) {
  static std::atomic<std::uint64_t> loaded{0};
  const std::uint64_t bit = std::uint64_t{1} << (device % 64);
  if (device < 64 && (loaded.load(std::memory_order_acquire) & bit) != 0) return;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  require(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode");
  cudaFuncAttributes attributes;
  cudaError_t status = cudaFuncGetAttributes(&attributes, run);
  constexpr Index bytes = shared_bytes_of<Kernel>;
  static_assert(bytes <= 99 * 1024, "not every GPU has as much");
  if (status == cudaSuccess && bytes > 48 * 1024)
    status = cudaFuncSetAttribute(run, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes));
  cudaThreadExchangeStreamCaptureMode(&mode);
  require(status, "no code for this device");
  loaded.fetch_or(bit, std::memory_order_release);
}

template <class Kernel>
cudaLaunchConfig_t config_of(const Cuda& exec, Index blocks) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(Kernel::threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes_of<Kernel>);
  config.stream = static_cast<cudaStream_t>(exec.stream);
  return config;
}

template <class Kernel>
void launch(const Cuda& exec, Index blocks, const Kernel& kernel) {
  const DeviceGuard guard(exec.device);
  void (*const run)(Kernel) = run_kernel<Kernel>;
  load<Kernel>(exec.device, run);
  const cudaLaunchConfig_t config = config_of<Kernel>(exec, blocks);
  require(cudaLaunchKernelEx(&config, run, kernel), "launch");
}

// The blocks of a launch that run at the same time on an idle device.
template <class Kernel>
Index resident_blocks(const Cuda& exec) {
  const DeviceGuard guard(exec.device);
  void (*const run)(Kernel, int, char*) = run_kernel<Kernel>;
  load<Kernel>(exec.device, run);
  int processors = 0, blocks = 0;
  require(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, exec.device),
          "cudaDeviceGetAttribute");
  require(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
              &blocks, run, Kernel::threads, static_cast<std::size_t>(shared_bytes_of<Kernel>)),
          "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  return static_cast<Index>(processors) * blocks;
}

// `memory` has room for team_bytes(width) a team.
template <class Kernel>
void launch_teams(const Cuda& exec, Index teams, int width, char* memory, const Kernel& kernel) {
  const DeviceGuard guard(exec.device);
  void (*const run)(Kernel, int, char*) = run_kernel<Kernel>;
  load<Kernel>(exec.device, run);
  cudaLaunchConfig_t config = config_of<Kernel>(exec, teams * width);
  cudaLaunchAttribute together{};
  if (width > 1) {
    require(cudaMemsetAsync(memory, 0, static_cast<std::size_t>(teams * team_bytes(width)),
                            config.stream),
            "cudaMemsetAsync");
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    config.attrs = &together;
    config.numAttrs = 1;
  }
  require(cudaLaunchKernelEx(&config, run, kernel, width, memory), "launch");
}

// How many costs a block of a team should have to itself, at least.
constexpr Index streamed_block_entries = 1 << 16;

}  // namespace kantorch::cuda

#else

#include "cuda/runtime/team_host.hpp"

namespace kantorch::cuda {

template <class Kernel>
void launch(const Cuda&, Index blocks, const Kernel& kernel) {
  run_on_host({blocks, Kernel::threads, Kernel::template bytes<HostTeam>()}, host_schedule(),
              kernel);
}

template <class Kernel>
Index resident_blocks(const Cuda&) {
  return 3;
}

template <class Kernel>
void launch_teams(const Cuda&, Index teams, int width, char* memory, const Kernel& kernel) {
  run_on_host({teams * width, Kernel::threads, Kernel::template bytes<HostTeam>(), width, memory},
              host_schedule(), kernel);
}

// Small, so that small problems have teams of several blocks.
constexpr Index streamed_block_entries = 1 << 9;

}  // namespace kantorch::cuda

#endif
