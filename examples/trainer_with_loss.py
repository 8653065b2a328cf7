"""A trainer that calls the model by keywords and takes the loss from its output, as Hugging Face's does.

Their `Trainer` is subclassed in the same way: only `compute_loss` changes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kantorch.regularizers import Layer, RepresentationTransport, Watch


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Output:
        hidden = self.encoder(self.embedding(input_ids))  # (n, tokens, 16)
        logits = self.head(hidden[:, 0])
        return Output(None if labels is None else cross_entropy(logits, labels), logits)


class Trainer:
    def __init__(self, model: nn.Module, teacher: nn.Module) -> None:
        self.model = model
        tokens = Layer("encoder", channel_dim=-1)  # tokens are places, the 16 are the neurons
        self.penalty = RepresentationTransport(Watch(model, teacher), layers=[tokens], alpha=0.1)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        return model(**inputs).loss + self.penalty()  # the teacher is not given the labels


def main() -> list[float]:
    """Return the losses of ten steps."""
    torch.manual_seed(0)
    trainer = Trainer(Classifier(), teacher=Classifier())
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-2)
    inputs = {"input_ids": torch.randint(50, (24, 7)), "labels": torch.randint(3, (24,))}
    losses = []
    for _ in range(10):
        loss = trainer.compute_loss(trainer.model, inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    print(", ".join(f"{loss:.3f}" for loss in main()))
