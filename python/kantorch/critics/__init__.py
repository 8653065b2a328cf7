"""Critics that are 1-Lipschitz by construction, and penalties for those that are not."""

from kantorch.critics.bank import CriticBank
from kantorch.critics.clipping import clip_weights
from kantorch.critics.group_sort import GroupSortNet, group_sort
from kantorch.critics.min_max_tree import MinMaxTree, min_max
from kantorch.critics.mlp import mlp
from kantorch.critics.orthogonal import Bjorck, bjorck, orthogonal_linear
from kantorch.critics.penalties import gradient_penalty, lipschitz_penalty, slopes

__all__ = [
    "Bjorck",
    "CriticBank",
    "GroupSortNet",
    "MinMaxTree",
    "bjorck",
    "clip_weights",
    "gradient_penalty",
    "group_sort",
    "lipschitz_penalty",
    "min_max",
    "mlp",
    "orthogonal_linear",
    "slopes",
]
