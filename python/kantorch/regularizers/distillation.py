"""Knowledge distillation: the student's class probabilities near the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kantorch._check import require_positive
from kantorch.regularizers._regularizer import Regularizer
from kantorch.regularizers.layer import Layer, require_finite
from kantorch.regularizers.watch import TeacherMode, Watch

if TYPE_CHECKING:
    from collections.abc import Callable


class KnowledgeDistillation(Regularizer):
    """alpha KL(softmax(t / tau) || softmax(s / tau)), the mean over the batch.

    s and t are the logits of student and teacher, over the same classes.

    Args:
        student: The network that is trained, or a `Watch` of it with a teacher.
        teacher: The network that teaches. It must share no parameter with the student.
        temperature: tau, finite and > 0.
        scaled: Whether the term is multiplied by tau^2, which keeps the size of its gradient when
            tau changes.
        alpha: Strength, finite and >= 0.
        logits: Where the logits are, if not the network's own output or its only part.
        teacher_transform: See `Watch`.
        teacher_mode: See `Watch`.

    Returns:
        From a call without arguments, or with what the student was called with, a scalar tensor.

    Raises:
        ValueError: If an argument is out of range, or there is no teacher; from a call, if the
            logits differ in shape (both are named) or are not finite.
        RuntimeError: From a call, if the student has not run since the last one, or ran without
            gradients.

    Source:
        Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, 2015; without the factor
        as in Li et al.: Representation Transfer by Optimal Transport, eq. 7.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import KnowledgeDistillation
        >>> student, teacher = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
        >>> _ = student.load_state_dict(teacher.state_dict())
        >>> penalty = KnowledgeDistillation(student, teacher)
        >>> _ = student(torch.randn(4, 2))
        >>> abs(penalty().item()) < 1e-6
        True
    """

    def __init__(
        self,
        student: nn.Module | Watch,
        teacher: nn.Module | None = None,
        *,
        temperature: float = 4.0,
        scaled: bool = False,
        alpha: float = 1.0,
        logits: Layer | None = None,
        teacher_transform: Callable[..., Any] | None = None,
        teacher_mode: TeacherMode = "eval",
    ) -> None:
        super().__init__(alpha)
        require_positive("temperature", temperature)
        if teacher is None and not isinstance(student, Watch):
            msg = "teacher must be a network, got None"
            raise ValueError(msg)
        self.temperature = temperature
        self.scaled = scaled
        self.layers = (Layer("") if logits is None else logits,)
        self.watch = Watch.of(
            student,
            teacher,
            copied=True,
            teacher_transform=teacher_transform,
            teacher_mode=teacher_mode,
        )
        self._reader = self.watch.reader(self.layers, teacher=True)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the term for the student's last forward pass."""
        ((student, teacher),) = self.watch.take(
            self._reader, self.layers, inputs, named, teacher=True
        )
        assert teacher is not None
        if student.shape != teacher.shape or student.ndim != 2:
            msg = (
                "student and teacher must have logits (n, classes) of one shape, got "
                f"{tuple(student.shape)} and {tuple(teacher.shape)}"
            )
            raise ValueError(msg)
        with torch.autocast(device_type=student.device.type, enabled=False):
            dtype = torch.promote_types(student.dtype, torch.float32)
            ours, theirs = (
                nn.functional.log_softmax(logits.to(dtype) / self.temperature, dim=1)
                for logits in (student, teacher)
            )
            divergence = nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        if not divergence.isfinite():
            for owner, logits in (("student", student), ("teacher", teacher)):
                require_finite(owner, self.layers[0].name, logits)
        return self._total({"logits": divergence * (self.temperature**2 if self.scaled else 1.0)})

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"temperature={self.temperature}, scaled={self.scaled}, alpha={self.alpha}"
