"""FitNet: the student's hidden features, through a regressor, near the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kantorch.regularizers._regularizer import Regularizer
from kantorch.regularizers.layer import Layer, as_layers, require_finite
from kantorch.regularizers.watch import TeacherMode, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class FitNet(Regularizer):
    """alpha times the mean squared distance of regressed features from the teacher's, over layers.

    A regressor, linear in the channels (a 1 x 1 convolution on maps), joins the widths. It is
    trained together with the student: give `parameters()` of the regularizer to the optimizer, too.
    Maps of another size are averaged or spread to the teacher's.

    Args:
        student: The network that is trained, or a `Watch` of it with a teacher.
        teacher: The network that teaches. None: a frozen copy of the student as it is now.
        layers: Names of the layers, pairs (student, teacher), or a `Layer` for each.
        example: What the networks can be called with, one example or more: the widths of the layers
            are found by a call without gradients in evaluation mode.
        alpha: Strength, finite and >= 0.
        teacher_transform: See `Watch`.
        teacher_mode: See `Watch`.

    Returns:
        From a call without arguments, or with what the student was called with, a scalar tensor.

    Raises:
        ValueError: If an argument is out of range, or the features of a layer have different numbers
            of dimensions in student and teacher; from a call, if an activation is not finite (network
            and layer are named).
        RuntimeError: From a call, if the student has not run since the last one, or ran without
            gradients.

        TypeError: From a call, if the student has another dtype than the regressors or the teacher, as
            after `student.double()`: move the regularizer along.

    Source:
        Romero et al.: FitNets: hints for thin deep nets, ICLR 2015, eq. 3, with a mean in place of
        half the sum.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import FitNet
        >>> student, teacher = torch.nn.Linear(3, 2), torch.nn.Linear(3, 5)
        >>> penalty = FitNet(student, teacher, layers=[""], example=torch.zeros(1, 3))
        >>> penalty.regressors[0]
        Linear(in_features=2, out_features=5, bias=True)
    """

    def __init__(
        self,
        student: nn.Module | Watch,
        teacher: nn.Module | None = None,
        *,
        layers: Sequence[str | tuple[str, str] | Layer],
        example: Tensor,
        alpha: float = 1.0,
        teacher_transform: Callable[..., Any] | None = None,
        teacher_mode: TeacherMode = "eval",
    ) -> None:
        super().__init__(alpha)
        self.layers = as_layers(layers)
        self.watch = Watch.of(
            student,
            teacher,
            copied=True,
            teacher_transform=teacher_transform,
            teacher_mode=teacher_mode,
        )
        self._reader = self.watch.reader(self.layers, teacher=True)
        self.regressors = nn.ModuleList(
            nn.Linear(ours, theirs).to(like) for ours, theirs, like in self._widths(example)
        )

    def _widths(self, example: Tensor) -> list[tuple[int, int, Tensor]]:
        network = self.watch.student
        modes = {module: module.training for module in network.modules()}
        network.eval()
        try:
            with torch.no_grad():
                network(example)
                pairs = self.watch.take(self._reader, self.layers, teacher=True)
        finally:
            for module, mode in modes.items():
                module.training = mode
        widths = []
        for layer, (ours, theirs) in zip(self.layers, pairs, strict=True):
            assert theirs is not None
            if ours.ndim != theirs.ndim:
                msg = (
                    "student and teacher must have features of as many dimensions: layer "
                    f"{layer.name!r} has {tuple(ours.shape)} and {tuple(theirs.shape)}"
                )
                raise ValueError(msg)
            channel_dim = layer.channels(ours)
            widths.append((ours.shape[channel_dim], theirs.shape[channel_dim], ours))
        return widths

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the term for the student's last forward pass."""
        pairs = self.watch.take(self._reader, self.layers, inputs, named, teacher=True)
        parts: dict[str, Tensor] = {}
        for layer, regressor, (ours, theirs) in zip(
            self.layers, self.regressors, pairs, strict=True
        ):
            assert theirs is not None
            channel_dim = layer.channels(ours)
            regressed = self._regressed(layer, regressor, ours.movedim(channel_dim, -1))
            wanted = theirs.movedim(channel_dim, 1)
            resized = _resized(regressed, wanted.shape[2:])
            if resized.dtype in (torch.float16, torch.bfloat16):
                resized = resized.float()  # squares leave the range of float16
            distance = nn.functional.mse_loss(resized, wanted.to(resized.dtype))
            if not distance.isfinite():
                require_finite("student", layer.name, ours)
                require_finite("teacher", layer.teacher_name, theirs)
            parts[layer.name] = layer.weight * distance
        return self._total(parts)

    def _regressed(self, layer: Layer, regressor: nn.Module, features: Tensor) -> Tensor:
        assert isinstance(regressor, nn.Linear)
        try:
            regressed: Tensor = regressor(features)
        except RuntimeError as error:
            own = regressor.weight.dtype
            if features.dtype == own:
                raise
            msg = (
                f"the regressors must have the dtype of the features: layer {layer.name!r} has "
                f"{features.dtype}, and its regressor {own}: move the regularizer with the student"
            )
            raise TypeError(msg) from error
        return regressed.movedim(-1, 1)

    def extra_repr(self) -> str:
        """Show the layers and the strength."""
        return f"layers={[layer.name for layer in self.layers]}, alpha={self.alpha}"


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    pools: dict[int, Callable[..., Tensor]] = {
        1: nn.functional.adaptive_avg_pool1d,
        2: nn.functional.adaptive_avg_pool2d,
        3: nn.functional.adaptive_avg_pool3d,
    }
    return pools[len(size)](maps, tuple(size))
