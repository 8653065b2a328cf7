"""Features that you already have, as from `output_hidden_states`: no network is watched."""

import torch

from kantorch.regularizers import neuron_cost, transport_penalty


def main() -> tuple[float, float, float]:
    """Return the three penalties for neurons that only changed places."""
    torch.manual_seed(0)
    teacher = torch.randn(64, 20)  # 64 examples, 20 neurons
    student = teacher[:, torch.randperm(20)].requires_grad_()
    cost = neuron_cost(student, teacher)  # (20, 20) distances between neurons over the examples
    optimal, _ = transport_penalty(cost, solver="exact")
    identity, _ = transport_penalty(cost, kind="identity")
    uniform, _ = transport_penalty(cost, kind="uniform")
    (optimal + identity + uniform).backward()  # the gradient reaches student
    return optimal.item(), identity.item(), uniform.item()


if __name__ == "__main__":
    print("optimal {:.3f}, identity {:.3f}, uniform {:.3f}".format(*main()))
