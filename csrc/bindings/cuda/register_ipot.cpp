#include "bindings/cuda/register_scaling.hpp"
#include "core/ipot.hpp"

namespace kantorch::bindings {

void register_cuda_ipot(py::module_& m) {
  register_cuda_scaling(
      m, "ipot", [](const auto&... given) { return ipot_workspace(given...); },
      [](const auto&... given) { return ipot(given...); });
}

}  // namespace kantorch::bindings
