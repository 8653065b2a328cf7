#include "bindings/cuda/register_scaling.hpp"
#include "core/sinkhorn.hpp"

namespace kantorch::bindings {

void register_cuda_sinkhorn(py::module_& m) {
  register_cuda_scaling(
      m, "sinkhorn", [](const auto&... given) { return sinkhorn_workspace(given...); },
      [](const auto&... given) { return sinkhorn(given...); });
}

}  // namespace kantorch::bindings
