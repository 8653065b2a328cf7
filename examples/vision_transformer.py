"""Tokens of a vision transformer: which dimension holds the neurons, and the input of a head."""

import torch
from torch import Tensor, nn

from kantorch.regularizers import Layer, RepresentationTransport


class TinyViT(nn.Module):
    """Patches to tokens, a block, the mean of the tokens taken inside `forward`, a head."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(width, 4, 48, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.block(self.patches(images).flatten(2).transpose(1, 2))  # (n, tokens, width)
        return self.head(tokens.mean(1))


def main() -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's plan: neurons of the student by those of the teacher."""
    torch.manual_seed(0)
    student, teacher = TinyViT(24), TinyViT(32)
    layers = [
        Layer("block", channel_dim=-1),  # (n, tokens, width): without it, a ValueError
        Layer("head", of="input"),  # pooled in a function: the input of the head
    ]
    penalty = RepresentationTransport(student, teacher, layers=layers)
    student(torch.randn(16, 1, 16, 16))
    penalty().backward()
    return {name: tuple(plan.shape) for name, plan in penalty.plans.items()}


if __name__ == "__main__":
    print(main())
