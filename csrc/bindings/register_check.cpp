#include <algorithm>

#include "bindings/call.hpp"
#include "bindings/problem.hpp"
#include "core/check.hpp"

namespace kantorch::bindings {
namespace {

const char* name(Fault fault) noexcept {
  switch (fault) {
    case Fault::none:
      return "none";
    case Fault::cost_not_finite:
      return "cost_not_finite";
    case Fault::a_not_finite:
      return "a_not_finite";
    case Fault::b_not_finite:
      return "b_not_finite";
    case Fault::a_negative:
      return "a_negative";
    case Fault::b_negative:
      return "b_negative";
    case Fault::mass_differs:
      return "mass_differs";
    case Fault::strength_not_positive:
      return "strength_not_positive";
    case Fault::mass_overflow:
      return "mass_overflow";
  }
  return "unknown";
}

}  // namespace

// Returns what is wrong with the first problem that has a fault, by name, or None.
void register_check(py::module_& m) {
  m.def(
      "check",
      [](const Problem& problem, const Tensor& strength, const Execution& execution) -> py::object {
        const Index batch = problem.number("batch");
        const Index bytes = batch * static_cast<Index>(sizeof(Finding));
        py::object found = py::none();
        problem.dispatch([&](auto tag) {
          using T = typename decltype(tag)::Scalar;
          CheckProblem<T> check_problem;
          check_problem.cost = problem.cost<T>();
          check_problem.a = problem.a<T>();
          check_problem.b = problem.b<T>();
          check_problem.strength = strength.data<const double>();
          const Index more = check_workspace(check_problem, execution.threads());
          const Tensor memory = execution.allocate(bytes + more);
          char* const scratch = memory.data<char>();
          auto* const findings = reinterpret_cast<Finding*>(scratch);
          call(execution, [&](const Cpu& exec) {
            return check(check_problem, findings, scratch + bytes, exec);
          });
          const auto* const first = std::find_if(
              findings, findings + batch, [](const Finding& f) { return f.fault != Fault::none; });
          if (first == findings + batch) return;
          using py::literals::operator""_a;
          found = py::dict("fault"_a = name(first->fault), "problem"_a = first - findings,
                           "row"_a = first->row, "col"_a = first->col, "value"_a = first->value,
                           "other"_a = first->other);
        });
        return found;
      },
      py::arg("problem"), py::arg("strength"), py::arg("execution"));
}

}  // namespace kantorch::bindings
