"""Representation transport: keep what a layer's neurons compute, not which neuron computes it."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from kantorch._check import require_at_least, require_choice, require_limits, require_positive
from kantorch._solve import solve
from kantorch.regularizers import _processes
from kantorch.regularizers._regularizer import Regularizer
from kantorch.regularizers.layer import Layer, as_layers, require_finite
from kantorch.regularizers.neurons import Spatial, neuron_cost
from kantorch.regularizers.watch import TeacherMode, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Kind = Literal["optimal", "identity", "uniform"]
Solver = Literal["ipot", "exact", "sinkhorn"]

# IPOT's steps where none are asked for: on ReLU neurons (d = 256, beta a tenth of the mean cost)
# this leaves a relative error in the cost below 1e-3 and rows right to 1e-3.
IPOT_STEPS = 100


def _require_options(
    solver: Solver, beta: float | None, reg: float | None, max_iter: int | None, tol: float | None
) -> None:
    """Check what the solver is told, and that it is this solver's."""
    require_choice("solver", solver, get_args(Solver))
    for name, value, owner in (("beta", beta, "ipot"), ("reg", reg, "sinkhorn")):
        if value is None:
            continue
        if solver != owner:
            msg = f"{name} belongs to solver {owner!r}, and solver is {solver!r}: drop one of them"
            raise ValueError(msg)
        require_positive(name, value)
    require_limits(max_iter, tol)


def transport_penalty(
    cost: Tensor,
    *,
    kind: Kind = "optimal",
    solver: Solver = "ipot",
    beta: float | None = None,
    reg: float | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Cost of moving the student's neurons onto the teacher's: <P, M> with a plan P of mass 1.

    Every neuron of the student weighs 1/d, every neuron of the teacher 1/d'. The gradient with
    respect to M is P, as in the paper: the plan counts as a constant. That is the derivative of the
    value for the fixed plans, and by the envelope theorem for the optimal one, so for "exact" and,
    as far as it has converged, for "ipot". For "sinkhorn" it is not the derivative of the value that
    is returned: the plan moves with M, too, and P is the derivative of the value with entropy,
    <P, M> + reg KL(P | a x b), which <P, M> is a part of.

    Args:
        cost: Distances M (d, d') between neurons, float32 or float64.
        kind: "optimal": the cheapest plan, Omega_P. "identity": P = I/d, Omega_I, for d = d'.
            "uniform": P = 1/(d d'), Omega_U, the mean of M.
        solver: For the optimal plan. "ipot": proximal steps, as in the paper. "exact". "sinkhorn":
            the plan of the problem with entropy, which spreads mass over similar neurons.
        beta: IPOT's proximal step, in the unit of M. None: a tenth of the mean of M above its
            minimum.
        reg: Sinkhorn's strength of the entropy, in the unit of M. None: a twentieth of its mean.
        max_iter: IPOT's proximal steps (None: 100), or a limit for the other solvers (None: theirs).
        tol: None: IPOT runs all of `max_iter`. A tolerance > 0 stops it earlier; see
            `kantorch.solve`.

    Returns:
        The penalty, a differentiable scalar, and the detached plan (d, d').

    Raises:
        ValueError: If an argument is out of range, or `kind` is "identity" and d differs from d'.

    Source:
        Li et al.: Representation Transfer by Optimal Transport, eqs. 4 (Omega_P), 5 (Omega_I) and
        6 (Omega_U); section 2.3 for the gradient.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import transport_penalty
        >>> cost = torch.tensor([[3.0, 1.0], [1.0, 5.0]])
        >>> value, plan = transport_penalty(cost, solver="exact")
        >>> value, plan.trace()
        (tensor(1.), tensor(0.))
        >>> transport_penalty(cost, kind="identity")[0]
        tensor(4.)
    """
    require_choice("kind", kind, get_args(Kind))
    _require_options(solver, beta, reg, max_iter, tol)
    if cost.ndim != 2:
        msg = (
            f"cost must have shape (student's neurons, teacher's neurons), got {tuple(cost.shape)}"
        )
        raise ValueError(msg)
    d, d_teacher = cost.shape
    if kind == "identity":
        if d != d_teacher:
            msg = (
                "kind='identity' must have equal widths, got a student layer of "
                f"{d} neurons and a teacher layer of {d_teacher}"
            )
            raise ValueError(msg)
        return cost.diagonal().mean(), torch.eye(d, dtype=cost.dtype, device=cost.device) / d
    if kind == "uniform":
        return cost.mean(), torch.full_like(cost, 1 / (d * d_teacher), requires_grad=False)
    if solver == "exact":
        result = solve(cost, method="exact", max_iter=max_iter, tol=tol)
    elif solver == "sinkhorn":
        with torch.no_grad():
            strength = float(cost.mean()) / 20 if reg is None else reg
            plan = solve(cost, reg=strength or 1.0, max_iter=max_iter, tol=tol).plan
        return (plan * cost).sum(), plan
    else:
        steps = IPOT_STEPS if max_iter is None else max_iter
        fixed = 0.0 if tol is None else tol
        result = solve(cost, method="ipot", beta=beta, max_iter=steps, tol=fixed)
    return result.value, result.plan.detach()


class RepresentationTransport(Regularizer):
    """Distance between the representations of a student and a frozen teacher, by transport.

    Omega = sum over layers of <P, M>, where M_ij = ||A_i - T_j||_2 is the distance between the
    activations of neuron i of the student and neuron j of the teacher over the mini-batch, and P is
    the optimal, the identity or the uniform plan. The optimal plan does not mind neurons that
    change places; unequal widths are fine for "optimal" and "uniform".

    The student's activations are caught during your own forward pass, so nothing is computed twice;
    the regularizer runs the teacher alone::

        penalty = RepresentationTransport(student, layers=["features"], alpha=0.1)
        for x, y in loader:
            loss = cross_entropy(student(x), y) + penalty()

    The last forward pass counts: to use images without labels, run the student on them before the
    call. See `Watch` for how the teacher is run, and share one to add penalties up. Under autocast
    the distances are computed in float32. A layer that runs several times in one forward pass
    counts with its last output. With several processes (torch.distributed) neurons are
    characterised on the batch of all of them: squared distances are summed over the processes, so
    that the penalty and, as DistributedDataParallel averages gradients, a step of training are
    those of one process with the whole batch.

    The gradient takes the plans as constants, see `transport_penalty`: with "sinkhorn" it is not the
    derivative of the value that a call returns.

    Args:
        student: The network that is trained, or a `Watch` of it with a teacher.
        teacher: The reference. None: a frozen copy of the student as it is now, which is what
            fine-tuning wants. They must share no parameter, buffer or module.
        layers: Dotted names of modules, as in `named_modules()`. A pair (name in the student, name
            in the teacher) joins layers that differ; a `Layer` says more.
        alpha: Strength, finite and >= 0.
        kind: The plan: "optimal" (Omega_P), "identity" (Omega_I) or "uniform" (Omega_U).
        solver: "ipot", "exact" or "sinkhorn", for the optimal plan.
        beta: See `transport_penalty`.
        reg: See `transport_penalty`.
        max_iter: See `transport_penalty`.
        tol: See `transport_penalty`.
        solver_device: Where distances and plans are computed. None: where the activations are.
            "cpu" serves a network on a device that this build of kantorch has no kernels for: only
            the rows of activations and their gradient travel.
        spatial: What a neuron of a feature map is: "mean" or "flatten", see `neurons`.
        channel_dim: The dimension that holds the neurons, where a `Layer` does not say. None: 1, but
            three dimensions are refused.
        normalize: Divide distances by the square root of the batch size, see `neuron_cost`.
        layer_weights: A factor >= 0 per layer. None: those of the layers, which are 1 by default.
        teacher_transform: See `Watch`.
        teacher_mode: See `Watch`.
        synchronise: Whether neurons are characterised on the batch of all processes. None: where
            there are several, while gradients are on. All processes must then call it together.
        renew_every: Solve for the plans in every so many calls, at least 1; in between, the plans
            of the last solve are paid at the present distances. Neurons change places slowly, so
            that little is lost. The plans in use are part of the state_dict.

    Returns:
        From a call without arguments, or with what the student was called with, alpha times the
        penalty: a scalar tensor whose gradient reaches the student's parameters.

    Raises:
        ValueError: When made, if a layer is unknown, an option is out of range, or student and
            teacher share a parameter, buffer or module. When called, if their batches differ, or "identity" meets
            unequal widths (both shapes are named), or an activation is not finite (its layer is
            named).
        RuntimeError: When called, if the student has not run since the last call, or an activation
            has no graph while gradients are on (frozen layers, no_grad, a reentrant checkpoint), or
            after `close()`.
        TypeError: When called, if a layer returns no floating tensor, or a nested one.

    Source:
        Li, Grandvalet, Flamary, Courty, Dou: Representation Transfer by Optimal Transport,
        eqs. 2 to 6.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import RepresentationTransport
        >>> _ = torch.manual_seed(0)
        >>> student = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> regularizer = RepresentationTransport(student, layers=["1"], solver="exact")
        >>> x = torch.randn(16, 4)
        >>> _ = student(x)
        >>> regularizer(x).item()
        0.0
        >>> round(regularizer.traces["1"].item(), 6)
        1.0
    """

    def __init__(
        self,
        student: nn.Module | Watch,
        teacher: nn.Module | None = None,
        *,
        layers: Sequence[str | tuple[str, str] | Layer],
        alpha: float = 1.0,
        kind: Kind = "optimal",
        solver: Solver = "ipot",
        beta: float | None = None,
        reg: float | None = None,
        max_iter: int | None = None,
        tol: float | None = None,
        solver_device: torch.device | str | None = None,
        spatial: Spatial = "mean",
        channel_dim: int | None = None,
        normalize: bool = False,
        layer_weights: Sequence[float] | None = None,
        teacher_transform: Callable[..., Any] | None = None,
        teacher_mode: TeacherMode = "eval",
        synchronise: bool | None = None,
        renew_every: int = 1,
    ) -> None:
        super().__init__(alpha)
        require_at_least("renew_every", renew_every, 1)
        require_choice("kind", kind, get_args(Kind))
        _require_options(solver, beta, reg, max_iter, tol)
        require_choice("spatial", spatial, get_args(Spatial))
        self.layers = _weighted(as_layers(layers), layer_weights)
        self.kind = kind
        self.solver = solver
        self.beta = beta
        self.reg = reg
        self.max_iter = max_iter
        self.tol = tol
        self.solver_device = solver_device
        self.spatial = spatial
        self.channel_dim = channel_dim
        self.normalize = normalize
        self.synchronise = synchronise
        self.renew_every = renew_every
        self.watch = Watch.of(
            student,
            teacher,
            copied=True,
            teacher_transform=teacher_transform,
            teacher_mode=teacher_mode,
        )
        self._reader = self.watch.reader(self.layers, teacher=True)
        self._plans: dict[str, Tensor] = {}
        self._calls = 0

    @property
    def teacher(self) -> nn.Module:
        """The frozen reference."""
        assert self.watch.teacher is not None
        return self.watch.teacher

    @property
    def plans(self) -> dict[str, Tensor]:
        """The detached plan (d, d') of the last call, of mass 1, by the student's layer name."""
        return dict(self._plans)

    @property
    def traces(self) -> dict[str, Tensor]:
        """The trace of each plan of the last call: the share of neurons that kept their place.

        1 for the identity; a scalar tensor, on the device of the plan.
        """
        return {name: plan.diagonal().sum() for name, plan in self._plans.items()}

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the penalty on the activations of the student's last forward pass.

        Args:
            *inputs: Nothing, or what the student was called with.
            **named: Likewise, by keyword.
        """
        pairs = self.watch.take(self._reader, self.layers, inputs, named, teacher=True)
        if self._calls % self.renew_every == 0:
            self._plans = {}
        parts: dict[str, Tensor] = {}
        for layer, (student, teacher) in zip(self.layers, pairs, strict=True):
            assert teacher is not None
            cost = self._cost(layer, student, teacher)
            value, self._plans[layer.name] = self._paid(layer, cost)
            parts[layer.name] = value.to(student.device) * layer.weight
        self._calls += 1
        return self._total(parts)

    def get_extra_state(self) -> dict[str, Any]:
        """The plans in use and when they are renewed, so that a resumed run goes on with them."""
        plans = self._plans if self._calls % self.renew_every else {}
        return {"calls": self._calls % self.renew_every, "plans": dict(plans)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self._calls, self._plans = state["calls"], dict(state["plans"])

    def _across_processes(self) -> bool:
        wanted = torch.is_grad_enabled() if self.synchronise is None else self.synchronise
        return wanted and _processes.several()

    def _cost(self, layer: Layer, student: Tensor, teacher: Tensor) -> Tensor:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        if student.shape[0] != teacher.shape[0]:
            msg = (
                f"student and teacher must have the same batch: layer {layer.name!r} has the "
                f"shapes {shapes}"
            )
            raise ValueError(msg)
        channel_dim = layer.channels(student, self.channel_dim)
        try:
            cost = neuron_cost(
                student,
                teacher,
                spatial=self.spatial,
                channel_dim=channel_dim,
                normalize=self.normalize,
                device=self.solver_device,
                across_processes=self._across_processes(),
            )
        except ValueError:
            # Looked for only now, as every distance is checked anyway.
            require_finite("student", layer.name, student)
            require_finite("teacher", layer.teacher_name, teacher)
            raise
        if self.kind == "identity" and cost.shape[0] != cost.shape[1]:
            msg = (
                f"kind='identity' must have equal widths: layer {layer.name!r} has the shapes "
                f"{shapes} in student and teacher"
            )
            raise ValueError(msg)
        return cost

    def _paid(self, layer: Layer, cost: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty of a layer, by a plan that is kept or found, and the plan."""
        kept = self._plans.get(layer.name)
        if kept is not None and kept.shape == cost.shape:
            kept = kept.to(cost)
            return (kept * cost).sum(), kept
        return transport_penalty(
            cost,
            kind=self.kind,
            solver=self.solver,
            beta=self.beta,
            reg=self.reg,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def extra_repr(self) -> str:
        """Show the kind and the layers."""
        joined = [
            x.name if x.name == x.teacher_name else f"{x.name} -> {x.teacher_name}"
            for x in self.layers
        ]
        return f"kind={self.kind!r}, solver={self.solver!r}, layers={joined}, alpha={self.alpha}"


def _weighted(layers: tuple[Layer, ...], weights: Sequence[float] | None) -> tuple[Layer, ...]:
    if weights is None:
        return layers
    if len(weights) != len(layers) or not all(0 <= w <= sys.float_info.max for w in weights):
        msg = f"layer_weights must be {len(layers)} finite numbers >= 0, got {weights!r}"
        raise ValueError(msg)
    return tuple(
        dataclasses.replace(layer, weight=float(w))
        for layer, w in zip(layers, weights, strict=True)
    )
