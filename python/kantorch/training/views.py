"""Images of any size as tensors of one: resized, cropped, normalised, when a batch asks for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from kantorch.training.batches import BatchStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from kantorch.training.datasets import ImageSet

    Key = tuple[int, ...]
    Batch = list[int] | tuple[list[int], Key]


@dataclass(frozen=True)
class View:
    """How an image is looked at.

    Attributes:
        resize: Pixels of the shorter side after resizing, which keeps the ratio. None: as it is, or
            as large as the crop where it is smaller.
        size: Pixels of the square that is cut out.
        mean: Of each colour, of values in [0, 1]; it is taken off.
        deviation: Of each colour; what is left is divided by it.
        crops: "one": the centre, or a place that a key draws. "ten": centre and corners, and these
            mirrored, as a dimension of their own.
    """

    resize: int | None
    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    crops: Literal["one", "ten"] = "one"

    def resized(self, image: Image.Image) -> Image.Image:
        """The image with its shorter side as wanted."""
        shorter = min(image.size)
        wanted = self.resize or max(shorter, self.size)
        if shorter == wanted:
            return image
        sides = [max(wanted, round(side * wanted / shorter)) for side in image.size]
        return image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)

    def tensor(self, image: Image.Image, left: int, top: int) -> Tensor:
        """A square of an image, normalised: (3, size, size)."""
        cut = image.crop((left, top, left + self.size, top + self.size))
        pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (self.mean, self.deviation))
        return (pixels - mean) / deviation

    def look(self, image: Image.Image, draw: np.random.Generator | None = None) -> Tensor:
        """The image as (3, size, size), or as ten of them."""
        image = self.resized(image)
        right, bottom = image.width - self.size, image.height - self.size
        centre = right // 2, bottom // 2
        if self.crops == "ten":
            corners = [centre, (0, 0), (right, 0), (0, bottom), (right, bottom)]
            five = torch.stack([self.tensor(image, *corner) for corner in corners])
            return torch.cat([five, five.flip(-1)])
        if draw is None:
            return self.tensor(image, *centre)
        return self.tensor(image, int(draw.integers(right + 1)), int(draw.integers(bottom + 1)))


class LazyImages(Dataset[tuple["Tensor", ...]]):
    """Some images of a set, as `TensorDataset` gives them: indexed by a list, a batch.

    Args:
        images: The set.
        places: Of the images in it.
        labels: What they are to be told as.
        view: How they are looked at.
    """

    evaluation_batch = 64

    def __init__(
        self, images: ImageSet, places: Sequence[int], labels: Sequence[int], view: View
    ) -> None:
        self.images = images
        self.places = np.asarray(places, dtype=np.int64)
        self.labels = torch.as_tensor(np.asarray(labels, dtype=np.int64))
        self.view = view

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images (n, 3, size, size), or (n, 10, 3, size, size), and labels (n,).

        A batch that comes with a key has its squares cut where the key draws them.
        """
        index, key = batch if isinstance(batch, tuple) else (batch, None)
        draw = None if key is None else np.random.default_rng(key)
        found = [self.view.look(self.images.image(int(self.places[i])), draw) for i in index]
        return torch.stack(found), self.labels[index]

    def ten_crops(self) -> LazyImages:
        """The same images, each as ten crops."""
        view = replace(self.view, crops="ten")
        found = LazyImages(self.images, self.places.tolist(), self.labels.tolist(), view)
        found.evaluation_batch = 8
        return found


class KeyedStream(BatchStream):
    """Mini-batches with a key each, that draws what is drawn for it: of seed, round and place."""

    def __iter__(self) -> Iterator[list[int]]:
        for place, batch in enumerate(super().__iter__()):
            yield batch, (*self.seed, self._round, place, self.rank)  # type: ignore[misc]
