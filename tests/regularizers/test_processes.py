"""Several processes that share a batch learn what one process learns from the whole."""

from __future__ import annotations

import pytest
import torch

from scripts import run_script

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this build of torch joins no processes by gloo",
)

SCRIPT = """
import torch
from torch import distributed as dist
from kantorch.regularizers import RepresentationTransport
from regularizers.networks import moved, perceptron

def train(rank, world, rendezvous, normalize, out):
    torch.set_num_threads(1)
    student = perceptron(dtype=torch.float64)
    penalty = RepresentationTransport(
        student, moved(student), layers=["hidden0", "hidden1"], solver="exact", alpha=0.5,
        normalize=normalize,
    )
    wrapped = student
    if world > 1:
        dist.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=world)
        wrapped = torch.nn.parallel.DistributedDataParallel(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(3)
    for step in range(5):
        x = torch.randn(24, 4, dtype=torch.float64, generator=generator)
        y = torch.randint(0, 3, (24,), generator=generator)
        mine = slice(rank * 24 // world, (rank + 1) * 24 // world)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(wrapped(x[mine]), y[mine]) + penalty()
        loss.backward()
        optimizer.step()
    with torch.no_grad():  # alone, without the others
        if rank == 0:
            student(x)
            penalty()
    torch.save([p.detach() for p in student.parameters()], out + str(rank))
    if world > 1:
        # Torch joins the group's threads where its last owner goes. The wrapper would do so with the
        # interpreter's lock held, for which one of these threads may wait; the function below lets it go.
        del wrapped
        dist.destroy_process_group()
"""


@pytest.mark.parametrize("normalize", [False, True])
def test_two_processes_have_the_weights_of_one(tmp_path, normalize):
    module = tmp_path / "trained.py"
    module.write_text(SCRIPT)
    run_script(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import torch.multiprocessing as mp
        from trained import train
        if __name__ == "__main__":
            train(0, 1, "", {normalize}, {str(tmp_path / "one")!r})
            context = mp.get_context("fork")
            ranks = [
                context.Process(
                    target=train, args=(r, 2, {str(tmp_path / "meet")!r}, {normalize}, {str(tmp_path / "two")!r})
                )
                for r in range(2)
            ]
            for rank in ranks:
                rank.start()
            for rank in ranks:
                rank.join()
            assert [rank.exitcode for rank in ranks] == [0, 0]
        """
    )
    one, first, second = (torch.load(tmp_path / name) for name in ("one0", "two0", "two1"))
    for whole, mine, theirs in zip(one, first, second, strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-10, atol=1e-12)
        assert torch.equal(mine, theirs)
