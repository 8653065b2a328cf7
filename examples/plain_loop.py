"""Fine-tune with a transport penalty in a plain training loop."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from kantorch.regularizers import RepresentationTransport

images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
old, new = y < 5, y >= 5


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 5))


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, penalty: nn.Module | None) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(200):
        loss = cross_entropy(model(x), y)
        if penalty is not None:
            loss = loss + penalty()  # reads what model(x) has just computed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> float:
    """Return the share of neurons that kept their place, after fine-tuning on 25 digits."""
    torch.manual_seed(0)
    model = network()
    train(model, x[old], y[old], None)  # the source task
    penalty = RepresentationTransport(model, layers=["1"], alpha=0.1)  # the teacher: as it is now
    model[2].reset_parameters()  # a head for the target task
    train(model, x[new][:25], y[new][:25] - 5, penalty)
    return penalty.traces["1"].item()


if __name__ == "__main__":
    print(f"trace of the plan: {main():.2f}")
