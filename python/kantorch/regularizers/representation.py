"""Representation transport: keep what a layer's neurons compute, not which neuron computes it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from kantorch._check import require_choice
from kantorch._solve import solve
from kantorch.regularizers._capture import LayerCapture
from kantorch.regularizers.neurons import Spatial, neuron_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self

Kind = Literal["optimal", "identity", "uniform"]
Solver = Literal["ipot", "exact"]

# IPOT's steps where none are asked for: on ReLU neurons (d = 256, beta a tenth of the mean cost)
# this leaves a relative error in the cost below 1e-3 and rows right to 1e-3.
IPOT_STEPS = 100


def transport_penalty(
    cost: Tensor,
    *,
    kind: Kind = "optimal",
    solver: Solver = "ipot",
    beta: float | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Cost of moving the student's neurons onto the teacher's: <P, M> with a plan P of mass 1.

    Every neuron of the student weighs 1/d, every neuron of the teacher 1/d'. The gradient with
    respect to M is P, for the optimal plan by the envelope theorem.

    Args:
        cost: Distances M (d, d') between neurons, float32 or float64.
        kind: "optimal": the cheapest plan, Omega_P. "identity": P = I/d, Omega_I, for d = d'.
            "uniform": P = 1/(d d'), Omega_U, the mean of M.
        solver: For the optimal plan. "ipot": proximal steps, as in the paper. "exact".
        beta: IPOT's proximal step, in the unit of M. None: a tenth of the mean of M above its
            minimum.
        max_iter: IPOT's proximal steps (None: 100), or a limit for the exact solver (None: none).
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
    require_choice("solver", solver, get_args(Solver))
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
    else:
        steps = IPOT_STEPS if max_iter is None else max_iter
        fixed = 0.0 if tol is None else tol
        result = solve(cost, method="ipot", beta=beta, max_iter=steps, tol=fixed)
    return result.value, result.plan.detach()


class RepresentationTransport(nn.Module):
    """Distance between the representations of a student and a frozen teacher, by transport.

    Omega = sum over layers of <P, M>, where M_ij = ||A_i - T_j||_2 is the distance between the
    activations of neuron i of the student and neuron j of the teacher over the mini-batch, and P is
    the optimal, the identity or the uniform plan. The optimal plan does not mind neurons that
    change places; unequal widths are fine for "optimal" and "uniform".

    The student's activations are caught by forward hooks during your own forward pass, so nothing
    is computed twice; the regularizer runs the teacher alone::

        regularizer = RepresentationTransport(student, layers=["features"])  # teacher: as it is now
        for x, y in loader:
            loss = cross_entropy(student(x), y) + alpha * regularizer(x)

    The teacher is set to evaluation mode, where `.train()` leaves it, and frozen: its parameters
    stop requiring gradients. It is a submodule, so that it follows `.to(device)` and a resumed run
    compares with the same teacher; the student is none. Each call uses up the activations caught
    before it, which are copies: layers that follow may work in place. A regularizer that is dropped
    takes its hooks off the student. Under autocast the distances are computed in float32. A layer
    that runs several times in one forward pass counts with its last output. Under
    DistributedDataParallel give the wrapped network's `module`; every rank then transports the
    neurons of its own share of the batch.

    Args:
        student: The network that is trained. Student and teacher must share no parameter,
            buffer or module.
        teacher: The reference. None: a frozen copy of the student as it is now, which is what
            fine-tuning wants.
        layers: Dotted names of modules, as in `named_modules()`. A pair (name in the student, name
            in the teacher) joins layers that differ.
        kind: The plan: "optimal" (Omega_P), "identity" (Omega_I) or "uniform" (Omega_U).
        solver: "ipot" or "exact", for the optimal plan.
        beta: See `transport_penalty`.
        max_iter: See `transport_penalty`.
        tol: See `transport_penalty`.
        solver_device: Where distances and plans are computed. None: where the activations are.
            "cpu" serves a network on a device that this build of kantorch has no kernels for: only
            the rows of activations and their gradient travel.
        spatial: What a neuron of a feature map is: "mean" or "flatten", see `neurons`.
        channel_dim: The dimension that holds the neurons, see `neurons`.
        normalize: Divide distances by the square root of the batch size, see `neuron_cost`.
        layer_weights: A factor >= 0 per layer. None: 1 each.

    Returns:
        From a call with what the student was called with, the penalty: a scalar tensor whose
        gradient reaches the student's parameters.

    Raises:
        ValueError: When made, if a layer is unknown, an option is out of range, or student and
            teacher share a parameter, buffer or module. When called, if their batches differ, or "identity" meets
            unequal widths (both shapes are named), or an activation is not finite (its layer is
            named).
        RuntimeError: When called, if the student has not run since the last call, or ran without
            gradients while they are on now, or after `close()`.
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
        student: nn.Module,
        teacher: nn.Module | None = None,
        *,
        layers: Sequence[str | tuple[str, str]],
        kind: Kind = "optimal",
        solver: Solver = "ipot",
        beta: float | None = None,
        max_iter: int | None = None,
        tol: float | None = None,
        solver_device: torch.device | str | None = None,
        spatial: Spatial = "mean",
        channel_dim: int = 1,
        normalize: bool = False,
        layer_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        require_choice("kind", kind, get_args(Kind))
        require_choice("solver", solver, get_args(Solver))
        require_choice("spatial", spatial, get_args(Spatial))
        self.layers = _pairs(layers)
        self.layer_weights = _weights(layer_weights, len(self.layers))
        self.kind = kind
        self.solver = solver
        self.beta = beta
        self.max_iter = max_iter
        self.tol = tol
        self.solver_device = solver_device
        self.spatial = spatial
        self.channel_dim = channel_dim
        self.normalize = normalize
        if teacher is None:
            teacher = copy.deepcopy(student)
        _require_apart(student, teacher)
        teacher.requires_grad_(requires_grad=False).eval()
        self.teacher = teacher
        self._student_layers = LayerCapture(student, [s for s, _ in self.layers], "student")
        self._teacher_layers = LayerCapture(teacher, [t for _, t in self.layers], "teacher")
        self._plans: dict[str, Tensor] = {}

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
            *inputs: What the student was called with; the teacher is called with the same.
            **named: Likewise, by keyword.
        """
        student_features = self._student_layers.take(graph=torch.is_grad_enabled())
        with torch.no_grad():
            # Somebody else who owns the teacher may have switched it to training mode.
            self.teacher.eval()
            self.teacher(*inputs, **named)
        teacher_features = self._teacher_layers.take()
        self._plans = {}
        terms = []
        for (name, reference), weight in zip(self.layers, self.layer_weights, strict=True):
            value, plan = self._penalty(
                name, reference, student_features[name], teacher_features[reference]
            )
            self._plans[name] = plan
            terms.append(value * weight)
        return torch.stack(terms).sum()

    def _penalty(
        self, name: str, reference: str, student: Tensor, teacher: Tensor
    ) -> tuple[Tensor, Tensor]:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        if student.shape[0] != teacher.shape[0]:
            msg = (
                f"the student's last batch must be the regularizer's: layer {name!r} has the "
                f"shapes {shapes} in student and teacher"
            )
            raise ValueError(msg)
        try:
            cost = neuron_cost(
                student,
                teacher.detach(),
                spatial=self.spatial,
                channel_dim=self.channel_dim,
                normalize=self.normalize,
                device=self.solver_device,
            )
        except ValueError:
            # Looked for only now, as every distance is checked anyway.
            _require_finite("student", name, student)
            _require_finite("teacher", reference, teacher)
            raise
        if self.kind == "identity" and cost.shape[0] != cost.shape[1]:
            msg = (
                f"kind='identity' must have equal widths: layer {name!r} has the shapes {shapes} "
                "in student and teacher"
            )
            raise ValueError(msg)
        value, plan = transport_penalty(
            cost,
            kind=self.kind,
            solver=self.solver,
            beta=self.beta,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        return value.to(student.device), plan

    def close(self) -> None:
        """Remove the hooks from student and teacher; the regularizer is then unusable."""
        self._student_layers.close()
        self._teacher_layers.close()

    def __enter__(self) -> Self:
        """Use the regularizer in a `with` block, which removes the hooks at its end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hooks."""
        self.close()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the regularizer; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def extra_repr(self) -> str:
        """Show the kind and the layers."""
        joined = [s if s == t else f"{s} -> {t}" for s, t in self.layers]
        return f"kind={self.kind!r}, solver={self.solver!r}, layers={joined}"


def _pairs(layers: Sequence[str | tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if isinstance(layers, str) or not layers:
        msg = f"layers must be a non-empty sequence of module names, got {layers!r}"
        raise ValueError(msg)
    pairs = []
    for layer in layers:
        pair = (layer, layer) if isinstance(layer, str) else tuple(layer)
        if len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            msg = f"layers must hold names or (student, teacher) pairs of names, got {layer!r}"
            raise ValueError(msg)
        pairs.append((pair[0], pair[1]))
    names = [student for student, _ in pairs]
    if len(set(names)) != len(names):
        msg = f"layers must name each layer of the student once, got {names}"
        raise ValueError(msg)
    return tuple(pairs)


def _weights(weights: Sequence[float] | None, layers: int) -> tuple[float, ...]:
    values = (1.0,) * layers if weights is None else tuple(float(w) for w in weights)
    if len(values) != layers or not all(math.isfinite(w) and w >= 0 for w in values):
        msg = f"layer_weights must be {layers} finite numbers >= 0, got {weights!r}"
        raise ValueError(msg)
    return values


def _require_finite(network: str, layer: str, features: Tensor) -> None:
    bad = (~features.isfinite()).nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        msg = (
            f"the activations of {network} layer {layer!r} must be finite: "
            f"[{', '.join(map(str, index))}] is {features[index].item()}"
        )
        raise ValueError(msg) from None


def _require_apart(student: nn.Module, teacher: nn.Module) -> None:
    """Freezing what is shared would stop the student's training, and `.eval()` its dropout."""
    for kind, of in _PARTS.items():
        own = {id(part) for _, part in of(student)}
        shared = [name for name, part in of(teacher) if id(part) in own]
        if shared:
            msg = (
                f"teacher must share no {kind} with the student, got {shared[0]!r}; "
                "pass copy.deepcopy(student), or None"
            )
            raise ValueError(msg)


_PARTS: dict[str, Callable[[nn.Module], Iterable[tuple[str, object]]]] = {
    "parameter": nn.Module.named_parameters,
    "buffer": nn.Module.named_buffers,
    "module": nn.Module.named_modules,
}
