"""Penalties on the slope of a critic, on segments between samples of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def slopes(
    critic: Callable[[Tensor], Tensor], x: Tensor, *, differentiable: bool = False
) -> Tensor:
    """The norm of a critic's gradient at each point.

    Args:
        critic: Takes (.., D) to (..), each point alone.
        x: (.., D).
        differentiable: Whether the result has a graph.

    Returns:
        (..). Where the gradient is 0, so is the derivative of its norm.

    >>> import torch
    >>> slopes(lambda x: 3 * x[..., 0], torch.randn(4, 2))
    tensor([3., 3., 3., 3.])
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()  # a copy, as tensors of inference take no graph
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=differentiable)
        norms: Tensor = torch.linalg.vector_norm(gradient, dim=-1)
        return norms


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """E (|grad f(r)| - 1)^2, r uniform on the segments between paired samples.

    Args:
        critic: Takes (.., D) to (..), each point alone.
        x: (.., D), samples of one side.
        y: (.., D), as many of the other.
        generator: Draws the places on the segments. None: torch's own.

    Returns:
        (), or one value for each element of the leading dimensions before the last: samples are
        averaged, batches of critics are not.

    Raises:
        ValueError: If x and y differ in shape.

    Source:
        Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, Improved training of Wasserstein GANs,
        NeurIPS 2017.

    >>> import torch
    >>> x, y = torch.randn(4, 2), torch.randn(4, 2)
    >>> gradient_penalty(lambda x: 3 * x[..., 0], x, y)
    tensor(4.)
    """
    norms = slopes(critic, _between(x, y, generator), differentiable=True)
    return (norms - 1).square().mean(-1)


def lipschitz_penalty(
    critic: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """E max(0, |grad f(r)| - 1)^2: `gradient_penalty` that lets slopes below 1 be.

    Arguments, result and errors are those of `gradient_penalty`.

    Source:
        Petzka, Fischer, Lukovnicov, On the regularization of Wasserstein GANs, ICLR 2018.

    >>> import torch
    >>> x, y = torch.randn(4, 2), torch.randn(4, 2)
    >>> lipschitz_penalty(lambda x: 0.5 * x[..., 0], x, y)
    tensor(0.)
    """
    norms = slopes(critic, _between(x, y, generator), differentiable=True)
    return (norms - 1).relu().square().mean(-1)


def _between(x: Tensor, y: Tensor, generator: torch.Generator | None) -> Tensor:
    if x.shape != y.shape:
        msg = f"y must have the shape of x, {tuple(x.shape)}, got {tuple(y.shape)}"
        raise ValueError(msg)
    place = torch.rand(*x.shape[:-1], 1, dtype=x.dtype, device=x.device, generator=generator)
    return x.detach() + place * (y - x).detach()
