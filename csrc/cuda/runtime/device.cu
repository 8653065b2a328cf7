#include "cuda/runtime/device.hpp"

#ifdef __CUDACC__

#include <cuda_runtime_api.h>

namespace kantorch::cuda {
namespace {

std::string release(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

std::string why_unavailable() {
  int count = 0, driver = 0;
  cudaDriverGetVersion(&driver);
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  std::string why = status == cudaSuccess ? "no device" : cudaGetErrorString(status);
  why += driver == 0 ? " (no driver is loaded" : " (the driver is for CUDA " + release(driver);
  return why + ", kantorch was built with CUDA " + release(CUDART_VERSION) + ")";
}

bool is_emulated() { return false; }

std::string compiler() { return "CUDA " + release(CUDART_VERSION); }

}  // namespace kantorch::cuda

#else

namespace kantorch::cuda {

std::string why_unavailable() { return ""; }

bool is_emulated() { return true; }

std::string compiler() { return "emulation"; }

}  // namespace kantorch::cuda

#endif
