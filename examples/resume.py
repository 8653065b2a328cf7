"""Stop and resume a plain loop: the penalty's reference is part of its state."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from kantorch.regularizers import L2SP, RepresentationTransport, Sum

x, y = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3


def setting() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)  # stands for loading the pre-trained network
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    penalty = Sum(
        L2SP(network, head=["2"], alpha=0.01),
        RepresentationTransport(network, layers=["1"], alpha=0.1),
    )
    return network, penalty, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def train(parts: tuple[nn.Module, nn.Module, torch.optim.Optimizer], steps: int) -> Tensor:
    network, penalty, optimizer = parts
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network(x), y) + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.detach()


def main() -> tuple[float, float]:
    """Return the last loss of ten steps in one go, and of five and five with a stop between."""
    straight = train(setting(), 10)
    parts = setting()
    train(parts, 5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        torch.save([part.state_dict() for part in parts], file)
        parts = setting()
        for part, state in zip(parts, torch.load(file, weights_only=True), strict=True):
            part.load_state_dict(state)
    return straight.item(), train(parts, 5).item()


if __name__ == "__main__":
    print("in one go {:.6f}, resumed {:.6f}".format(*main()))
