#include "bindings/args.hpp"
#include "bindings/call.hpp"
#include "bindings/dispatch.hpp"
#include "core/check.hpp"

namespace kantorch::bindings {

void register_check(py::module_& m) {
  m.def(
      "check",
      [](const std::string& dtype, const CostArgument& cost, const VectorArgument& a,
         const VectorArgument& b, Index strength, Index batch, int threads) {
        return dispatch(dtype, [&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          const CheckProblem<T> problem{cost_batch<T>(cost), vector_batch<T>(a), vector_batch<T>(b),
                                        address<const double>(strength), batch};
          Finding finding;
          call(threads, [&](const Cpu& exec) { return check(problem, finding, exec); });
          return py::make_tuple(static_cast<int>(finding.fault), finding.problem, finding.row,
                                finding.col, finding.value, finding.other);
        });
      },
      py::arg("dtype"), py::arg("cost"), py::arg("a"), py::arg("b"), py::arg("strength"),
      py::arg("batch"), py::arg("threads"));
}

}  // namespace kantorch::bindings
