"""The same penalty as one line of a LightningModule; the teacher is saved with its checkpoints."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from kantorch.regularizers import RepresentationTransport


class FineTuning(LightningModule):
    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.penalty = RepresentationTransport(network, layers=[layer], alpha=0.1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = cross_entropy(self.network(x), y) + self.penalty()
        self.log_dict(self.penalty.terms)  # each layer's part, detached
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=0.1)


def main() -> dict[str, float]:
    """Return what the last step logged."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    data = TensorDataset(torch.randn(96, 8), torch.randint(3, (96,)))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(FineTuning(network, "1"), DataLoader(data, batch_size=32))
    return {name: value.item() for name, value in trainer.logged_metrics.items()}


if __name__ == "__main__":
    print(main())
