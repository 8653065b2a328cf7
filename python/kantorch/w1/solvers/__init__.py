"""One solver a file; `kantorch.w1.solvers()` finds them."""
