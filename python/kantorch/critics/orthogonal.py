"""Linear layers with orthonormal rows or columns."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from kantorch._check import require_choice
from kantorch.critics._parametrized import Layer, picklable

OrthogonalMap = Literal["bjorck", "cayley", "householder", "matrix_exp"]


def bjorck(weight: Tensor, steps: int = 20) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, whichever are fewer, by iteration.

    Each step takes every singular value s to 1.5 s - 0.5 s^3. The start is divided by a bound of the
    largest one, so they grow towards 1 and never pass it: whatever the number of steps, the result
    does not expand distances.

    Args:
        weight: (n, m) or (B, n, m), not zero.
        steps: Iterations. A singular value of 1/1000 of the bound needs 20 of them.

    Source:
        Bjorck and Bowie, SIAM J. Numer. Anal. 8 (1971), order 1; Anil, Lucas, Grosse, ICML 2019,
        use it for critics.

    >>> import torch
    >>> w = bjorck(torch.tensor([[3.0, 0.0, 4.0]]))
    >>> torch.allclose(w, torch.tensor([[0.6, 0.0, 0.8]]))
    True
    """
    # At the size of 1, since products of other sizes may be 0 or infinite.
    weight = weight / weight.detach().abs().amax((-2, -1), keepdim=True)
    absolute = weight.detach().abs()
    rows, columns = absolute.sum(-1).amax(-1), absolute.sum(-2).amax(-1)
    # The spectral norm is at most sqrt(|W|_1 |W|_inf).
    weight = weight / (rows * columns).sqrt()[..., None, None]
    wide = weight.shape[-1] >= weight.shape[-2]
    for _ in range(steps):
        # The smaller of the two products W W^T and W^T W.
        if wide:
            weight = 1.5 * weight - 0.5 * (weight @ weight.mT) @ weight
        else:
            weight = 1.5 * weight - 0.5 * weight @ (weight.mT @ weight)
    return weight


class Bjorck(nn.Module):
    """`bjorck` as a parametrization.

    >>> import torch
    >>> from torch.nn.utils.parametrize import register_parametrization
    >>> layer = register_parametrization(torch.nn.Linear(4, 2), "weight", Bjorck())
    >>> torch.allclose(layer.weight @ layer.weight.T, torch.eye(2), atol=1e-5)
    True
    """

    def __init__(self, steps: int = 20) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight that the layer uses."""
        return bjorck(weight, self.steps)


def orthogonal_linear(
    inputs: int, outputs: int, orthogonal_map: OrthogonalMap = "bjorck"
) -> nn.Linear:
    """A linear layer whose weight has orthonormal rows or columns, whichever are fewer.

    Args:
        inputs: Width of what it reads.
        outputs: Width of what it writes.
        orthogonal_map: "bjorck", or what `torch.nn.utils.parametrizations.orthogonal` offers:
            "cayley", "householder", "matrix_exp".

    Raises:
        ValueError: If `orthogonal_map` is unknown.

    >>> layer = orthogonal_linear(8, 3, "cayley")
    >>> layer.weight.shape
    torch.Size([3, 8])
    """
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight)
    return orthogonalise(layer, orthogonal_map)


def orthogonalise(layer: Layer, orthogonal_map: OrthogonalMap) -> Layer:
    """Keep the `weight` (n, m) or (B, n, m) of a layer orthogonal from here on.

    Raises:
        ValueError: If `orthogonal_map` is unknown.
    """
    require_choice("orthogonal_map", orthogonal_map, get_args(OrthogonalMap))
    if orthogonal_map == "bjorck":
        parametrize.register_parametrization(layer, "weight", Bjorck())
    else:
        parametrizations.orthogonal(layer, "weight", orthogonal_map)
    return picklable(layer)
