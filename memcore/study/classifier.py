"""The feature network of the Frechet distance: a small classifier, trained on images that no model of the study sees."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from memcore.study.data.images import ImageSet
from memcore.study.protocols.protocol import QualitySpec

_RATE = 2e-3
#: Images in one pass when features are taken, always: other batches round differently.
_BATCH = 64
_TURNS = 4


class Classifier(nn.Module):
    """Three convolutions and two layers; the features are what the last layer sees."""

    def __init__(self, channels: int, features: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the classes' logits, (n, classes)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class FeatureNetwork:
    """Features of images, and the reference images that samples are compared with: neither was ever trained on by a model.

    The reference of a data set is halved at random: one half trains the classifier, samples are compared with the other.
    Without classes it tells by which quarter turn an image was turned.
    """

    def __init__(self, data: ImageSet, spec: QualitySpec) -> None:
        self._spec = spec
        order = np.random.default_rng([spec.seed, 10]).permutation(len(data.reference))
        middle = len(order) // 2
        self._images, self._labels = data.reference[order[:middle]], data.reference_labels[order[:middle]]
        self.reference = data.reference[order[middle:]]
        self._reference_labels = data.reference_labels[order[middle:]]
        self.turned = data.classes < 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            classes = _TURNS if self.turned else data.classes
            self.net = Classifier(data.shape[2], spec.features, classes).eval()

    def train(self) -> float:
        """Train the network, and return its accuracy on the reference that it was not trained on."""
        random = torch.Generator().manual_seed(self._spec.seed + 1)
        images, labels = self._labelled(self._images, self._labels)
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(2, self._spec.steps))
        self.net.train()
        for _ in range(self._spec.steps):
            chosen = torch.randint(len(images), (self._spec.batch,), generator=random)
            loss = F.cross_entropy(self.net(images[chosen]), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        self.net.eval()
        return self.accuracy()

    def accuracy(self) -> float:
        """Return the share of the reference that is classified right; of unlabelled images, of their turns."""
        images, labels = self._labelled(self.reference, self._reference_labels)
        with torch.no_grad():
            found = torch.cat([self.net(part).argmax(1) for part in images.split(_BATCH)])
        return float((found == labels).float().mean())

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (n, features) of uint8 images."""
        made = []
        with torch.no_grad():
            for start in range(0, len(images), _BATCH):
                part = images[start : start + _BATCH]
                padded = np.concatenate([part, np.repeat(part[:1], _BATCH - len(part), axis=0)])
                made.append(self.net.body(_tensor(padded))[: len(part)].numpy())
        return np.concatenate(made)

    def weights(self) -> bytes:
        """Return the weights as safetensors."""
        return save_tensors({name: tensor.contiguous() for name, tensor in self.net.state_dict().items()})

    def load_weights(self, data: bytes) -> None:
        """Take weights that ``weights`` returned."""
        self.net.load_state_dict(load_tensors(data))

    def _labelled(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.turned:
            return _tensor(images), torch.from_numpy(labels)
        turns = [np.ascontiguousarray(np.rot90(images, k, axes=(1, 2))) for k in range(_TURNS)]
        which = np.repeat(np.arange(_TURNS), len(images))
        return _tensor(np.concatenate(turns)), torch.from_numpy(which)


def _tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1
