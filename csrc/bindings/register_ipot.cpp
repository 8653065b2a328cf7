#include "bindings/register_scaling.hpp"
#include "core/ipot.hpp"

namespace kantorch::bindings {

void register_ipot(py::module_& m) {
  register_scaling(
      m, "ipot", [](const auto&... given) { return ipot_workspace(given...); },
      [](const auto&... given) { return ipot(given...); });
}

}  // namespace kantorch::bindings
