#include "bindings/register_scaling.hpp"
#include "core/sinkhorn.hpp"

namespace kantorch::bindings {

void register_sinkhorn(py::module_& m) {
  register_scaling(
      m, "sinkhorn", [](const auto&... given) { return sinkhorn_workspace(given...); },
      [](const auto&... given) { return sinkhorn(given...); });
}

}  // namespace kantorch::bindings
