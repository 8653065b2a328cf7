"""Transport between the class probabilities of two heads, whose classes differ."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from kantorch._check import require_choice, require_finite, require_limits, require_positive
from kantorch._solve import solve
from kantorch.regularizers._regularizer import Regularizer

if TYPE_CHECKING:
    from kantorch._result import OTResult

Value = Literal["regularized", "sharp"]


class LabelTransport(Regularizer):
    """alpha times the mean over examples of the transport between two heads' class probabilities.

    Both heads look at the same examples, those of the target task; the mass that the source head
    gives to a source class is moved to target classes, at the costs of a matrix that says how far
    classes are apart (see `label_cost`). Gradients reach both heads. All examples are solved in one
    call in the log domain.

    With "regularized" the value is <P, C> + reg sum P log P and its gradient in the
    probabilities is that of the paper's eq. 11, reg times the logarithms of the scalings; it is
    determined up to a constant, which softmax takes out. The paper reports <P, C> beside that gradient. "sharp" is
    <P, C> with the gradient of its own, through the plan.

    Args:
        cost: (source classes, target classes), finite. It moves with `.to` and is in the
            state_dict.
        reg: Strength of the entropy, in the unit of the cost, > 0: 1 / lambda of the paper. It has
            to fit the scale of the cost.
        value: "regularized" or "sharp".
        alpha: Strength, finite and >= 0: the paper's lambda_ot.
        max_iter: Limit of the iterations, see `kantorch.solve`.
        tol: Tolerance, see `kantorch.solve`.

    Returns:
        From a call with the logits (n, source classes) and (n, target classes) of the two heads, a
        scalar tensor, in float32 or wider.

    Raises:
        ValueError: If an argument is out of range or a cost is not finite; from a call, if logits do
            not fit the cost (the shapes are named), are not finite or of no example.

    Source:
        Lu, Chen, Saidi: Optimal transport for deep joint transfer learning, eqs. 4 (the term), 9
        (the problem) and 11 (its gradient).

    Example:
        >>> import torch
        >>> from kantorch.regularizers import LabelTransport
        >>> penalty = LabelTransport(torch.full((4, 3), 2.0), value="sharp")
        >>> round(penalty(torch.randn(8, 4), torch.randn(8, 3)).item(), 4)
        2.0
    """

    cost: Tensor

    def __init__(
        self,
        cost: Tensor,
        *,
        reg: float = 0.1,
        value: Value = "regularized",
        alpha: float = 1.0,
        max_iter: int | None = None,
        tol: float | None = None,
    ) -> None:
        super().__init__(alpha)
        require_choice("value", value, get_args(Value))
        if cost.ndim != 2 or cost.numel() == 0:
            msg = f"cost must have shape (source classes, target classes), got {tuple(cost.shape)}"
            raise ValueError(msg)
        require_finite("cost", cost)
        require_positive("reg", reg)
        require_limits(max_iter, tol)
        self.register_buffer("cost", cost.detach().clone())
        self.reg = reg
        self.value = value
        self.max_iter = max_iter
        self.tol = tol

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the term for the logits of the two heads on the same examples."""
        shapes = tuple(source.shape), tuple(target.shape)
        if source.ndim != 2 or shapes != tuple((source.shape[0], k) for k in self.cost.shape):
            msg = (
                "source and target must be logits (n, classes) that fit the cost "
                f"{tuple(self.cost.shape)}, got {shapes[0]} and {shapes[1]}"
            )
            raise ValueError(msg)
        if not len(source):
            msg = (
                f"source and target must hold one example or more, got {shapes[0]} and {shapes[1]}"
            )
            raise ValueError(msg)
        return self._total({"labels": self.transport(source, target).mean()})

    def transport(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the transport (n,) of each example, without alpha."""
        result = self.solve(source, target)
        return result.value if self.value == "regularized" else result.value_linear

    def solve(self, source: Tensor, target: Tensor) -> OTResult:
        """Return the whole result, with plans and potentials, for logits."""
        require_finite("source logits", source)
        require_finite("target logits", target)
        with torch.autocast(device_type=source.device.type, enabled=False):
            # Probabilities of half precision do not add up to 1.
            dtype = functools.reduce(
                torch.promote_types, (source.dtype, target.dtype, self.cost.dtype), torch.float32
            )
            a, b = (torch.softmax(logits.to(dtype), dim=1) for logits in (source, target))
            return solve(
                self.cost.to(dtype),
                a,
                b,
                reg=self.reg,
                reg_type="entropy",
                max_iter=self.max_iter,
                tol=self.tol,
            )

    def extra_repr(self) -> str:
        """Show the classes and the settings."""
        classes = tuple(self.cost.shape)
        return f"classes={classes}, reg={self.reg}, value={self.value!r}, alpha={self.alpha}"
