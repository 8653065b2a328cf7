// Launches a kernel: an object with `threads`, bytes<Team>() of shared memory, and operator()(Team&).
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
  DeviceTeam team;
  kernel(team);
}

// The driver loads a kernel when it is first used, which a stream that is being captured does not allow: so it is
// loaded before, outside of what is captured. More than 48 KB of shared memory have to be asked for.
template <class Kernel>
void load(int device) {
  static std::atomic<std::uint64_t> loaded{0};
  const std::uint64_t bit = std::uint64_t{1} << (device % 64);
  if (device < 64 && (loaded.load(std::memory_order_acquire) & bit) != 0) return;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  require(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode");
  cudaFuncAttributes attributes;
  cudaError_t status = cudaFuncGetAttributes(&attributes, run_kernel<Kernel>);
  constexpr Index bytes = Kernel::template bytes<DeviceTeam>();
  static_assert(bytes <= 99 * 1024, "not every GPU has as much");
  if (status == cudaSuccess && bytes > 48 * 1024)
    status = cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes));
  cudaThreadExchangeStreamCaptureMode(&mode);
  require(status, "no code for this device");
  loaded.fetch_or(bit, std::memory_order_release);
}

template <class Kernel>
void launch(const Cuda& exec, Index blocks, const Kernel& kernel) {
  constexpr Index bytes = Kernel::template bytes<DeviceTeam>();
  const DeviceGuard guard(exec.device);
  load<Kernel>(exec.device);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(Kernel::threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(bytes);
  config.stream = static_cast<cudaStream_t>(exec.stream);
  require(cudaLaunchKernelEx(&config, run_kernel<Kernel>, kernel), "launch");
}

}  // namespace kantorch::cuda

#else

#include "cuda/runtime/team_host.hpp"

namespace kantorch::cuda {

template <class Kernel>
void launch(const Cuda&, Index blocks, const Kernel& kernel) {
  run_on_host({blocks, Kernel::threads, Kernel::template bytes<HostTeam>()}, host_schedule(),
              kernel);
}

}  // namespace kantorch::cuda

#endif
