"""Data-parallel training in two processes: neurons are compared on the batch of both.

Run it as it stands, or with `torchrun --nproc-per-node 2`.
"""

import os
import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kantorch.regularizers import RepresentationTransport


def train(rank: int, processes: int, folder: str) -> None:
    """Take five steps, each process on its part of the batch, and save the weights."""
    init = "env://" if folder == "env" else f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=processes)
    torch.manual_seed(0)  # the same network and data in both
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    teacher = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    x, y = torch.randn(32, 6)[rank::processes], torch.randint(3, (32,))[rank::processes]
    penalty = RepresentationTransport(
        network, teacher, layers=["1"]
    )  # the network, not its wrapper
    parallel = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(5):
        loss = nn.functional.cross_entropy(parallel(x), y) + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if rank == 0 and folder != "env":
        torch.save(network.state_dict(), f"{folder}/weights.pt")
    del parallel  # before the group: torch may hang where the wrapper is its last owner
    dist.destroy_process_group()


def main(processes: int = 2) -> dict[str, torch.Tensor]:
    """Return the trained weights: the same for any number of processes."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (processes, folder), nprocs=processes)
        return torch.load(f"{folder}/weights.pt", weights_only=True)


if __name__ == "__main__":
    if "RANK" in os.environ:
        train(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env")
    else:
        print({name: round(w.norm().item(), 4) for name, w in main().items()})
